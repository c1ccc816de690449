//! `gqa check`.

use anyhow::{Result, ensure};
use gqa::conformance::{Outcome, checks};
use indicatif::{ProgressBar, ProgressStyle};

use crate::run::open_adapter;
use crate::{interrupt, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An adapter's name (or a part of it) or index [default: $GQA_ADAPTER, or the best there is]
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    interrupt::listen("what is checked")?;
    let gpu = pollster::block_on(open_adapter(args.adapter.as_deref()))?;
    let (checks, mut failed, mut done) = (checks(), 0, 0);
    let bar = ProgressBar::new(checks.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    for check in &checks {
        if interrupt::wanted() {
            break;
        }
        bar.set_message(check.name);
        let outcome = pollster::block_on(check.run(&gpu));
        bar.suspend(|| {
            let (passed, told) = match &outcome {
                Ok(outcome) => (outcome.passed(), describe(outcome)),
                Err(error) => (false, error.to_string()),
            };
            failed += u32::from(!passed);
            say!(
                "{:7} {:10} {:32} {told}",
                if passed { "passed" } else { "FAILED" },
                check.group,
                check.name
            );
        });
        done += 1;
        bar.inc(1);
        if let Err(lost @ gqa::Error::DeviceLost { .. }) = outcome {
            return Err(lost.into());
        }
    }
    bar.finish_and_clear();
    ensure!(failed == 0, "{failed} of {done} checks failed");
    ensure!(done == checks.len(), "stopped after {done} of {} checks, which passed", checks.len());
    say!("all {done} checks passed");
    Ok(())
}

fn describe(outcome: &Outcome) -> String {
    match outcome.tolerance {
        0.0 => format!("{} of it differs", outcome.error),
        tolerance => format!("error {:.1e}, tolerance {tolerance:.0e}", outcome.error),
    }
}
