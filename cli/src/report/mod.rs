//! `gqa report`: benchmark results of several adapters, compared on one HTML page.
//!
//! `read` takes each file and refuses whatever is not a sound result; `compare` puts the same work of all files side by
//! side; `page` and the modules below it draw. The page is complete in itself: no script, nothing from the network.

mod adapters;
mod chart;
mod check;
mod compare;
mod format;
mod labels;
mod linear;
mod lines;
mod overall;
mod page;
mod read;
mod scale;
mod scaling;
mod sections;
mod tables;

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::{files, say};
use compare::Comparison;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Results that `gqa bench` wrote, each a file
    #[arg(required = true, value_name = "RESULTS.json")]
    results: Vec<PathBuf>,
    /// Where the page goes
    #[arg(short, long, value_name = "REPORT.html")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let output = files::Output::new(&args.output)?;
    for input in &args.results {
        ensure!(!output.is(input), "--output would overwrite {}, which is read", input.display());
    }
    let comparison = Comparison::new(read::all(&args.results)?)?;
    for run in &comparison.runs {
        say!("{:<9} {} ({} rows)", run.number(), run.label, run.results.rows.len());
    }
    output.finish(page::render(&comparison).into_string().as_bytes())?;
    say!("wrote     {}", args.output.display());
    Ok(())
}
