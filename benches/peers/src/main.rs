//! Times gqa against burn: same adapter, same process, same inputs, turn by turn.

mod contender;
mod forms;
mod measure;
mod ours;
mod problem;
mod report;
mod rows;
mod theirs;

#[cfg(any(
    all(feature = "stable", feature = "prerelease"),
    not(any(feature = "stable", feature = "prerelease"))
))]
compile_error!("choose one release of burn: the default, or --no-default-features --features prerelease");

#[cfg(all(feature = "prerelease", not(feature = "stable")))]
extern crate burn_prerelease as burn;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use gqa::Gpu;

use crate::contender::{Adapter, Contender};
use crate::ours::Ours;
use crate::problem::Problem;
use crate::report::{Line, Report};
use crate::rows::{ROWS, Row};

/// Times gqa against burn on the adapter that GQA_ADAPTER names, or the best one.
#[derive(Parser)]
struct Arguments {
    /// How often each contender is timed
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    reps: u16,
    /// The rows to time, such as L1,A1; all if not given
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let rows = select(&arguments.rows)?;
    end_if_wgpu_panics();
    let gpu = pollster::block_on(Gpu::from_env())?;
    let adapter = Adapter::new(gpu.adapter_info());
    println!("gqa on {adapter}");
    let (device, peer_adapter) = theirs::open(gpu.adapter_info())?;
    println!("burn {} on {peer_adapter}", theirs::VERSION);

    let mut report = Report {
        adapter,
        burn: theirs::VERSION,
        spirv: cfg!(feature = "spirv"),
        reps: arguments.reps.into(),
        rows: Vec::new(),
    };
    for row in rows {
        let problem = Problem::new(row)?;
        let ours = Ours::new(&gpu, row, &problem)?;
        let theirs = theirs::contenders(&device, row, &problem)?;
        let forward = ours.forward_half();
        let forward = forward.as_ref().map(|half| half as &dyn Contender);
        let result = measure::measure(row.name, &ours, forward, &theirs, report.reps)?;
        report.rows.push(Line::new(result));
        // After each row, so that an interrupted run leaves what it has.
        if let Some(path) = &arguments.json {
            report.write(path)?;
        }
    }
    report.print();
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends the program if wgpu panics in a thread of burn's, for which burn would wait for ever.
fn end_if_wgpu_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let in_wgpu = panic.location().is_some_and(|location| location.file().contains("wgpu-core"));
        if in_wgpu && std::thread::current().name() != Some("main") {
            eprintln!("wgpu has failed under burn; try again, row by row with --rows");
            std::process::exit(3);
        }
    }));
}

/// The rows of these names, in the table's order.
fn select(names: &[String]) -> Result<Vec<&'static Row>> {
    let is_named = |row: &Row| names.iter().any(|name| name.eq_ignore_ascii_case(row.name));
    for name in names {
        let known = ROWS.iter().any(|row| name.eq_ignore_ascii_case(row.name));
        ensure!(known, "no row {name}; there are {}", ROWS.map(|row| row.name).join(", "));
    }
    Ok(ROWS.iter().filter(|row| names.is_empty() || is_named(row)).collect())
}
