//! The `gqa` command.

mod adapters;
mod bench;
mod check;
mod files;
mod grad;
mod inputs;
mod inspect;
mod interrupt;
mod map;
mod report;
mod run;
mod saving;
mod source;
mod train;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};

/// Grouped-query attention layers, as Keras saves them, on any GPU.
#[derive(Parser)]
#[command(name = "gqa", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the adapters of this machine: backend, driver, kind, limits and the features that matter here
    Adapters,
    /// List the attention layers of a file: their configuration, weights and shapes
    Inspect {
        /// A `.keras` archive, a `.weights.h5` or safetensors file, or a configuration JSON
        file: std::path::PathBuf,
    },
    /// Compute a set of layers, gradients and dropout patterns on an adapter and compare them with the reference
    Check(check::Args),
    /// Run a layer on inputs from a safetensors file
    Run(run::Args),
    /// Compute the gradients of a layer's output and regularization
    Grad(grad::Args),
    /// Train a layer towards a target
    Train(train::Args),
    /// Time layers and attention beside what the adapter can do at most
    Bench(bench::Args),
    /// Compare benchmark results on an HTML page
    Report(report::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Adapters => adapters::print(),
        Command::Inspect { file } => inspect::print(&file),
        Command::Check(args) => check::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Grad(args) => grad::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Report(args) => report::run(&args),
    };
    match result {
        Ok(()) if UNSAID.load(Ordering::Relaxed) => {
            eprintln!("gqa: can't write to the standard output");
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gqa: {}", plain(&format!("{error:#}"), ""));
            ExitCode::FAILURE
        }
    }
}

/// Text from files without what would move a terminal's cursor: control characters but for `kept`, written as escapes.
fn plain(text: &str, kept: &str) -> String {
    let escape =
        |c: char| if c.is_control() && !kept.contains(c) { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}

/// Whether something could not be printed.
static UNSAID: AtomicBool = AtomicBool::new(false);

/// Prints a line. That it can't be printed stops nothing, and is told at the end, unless the reader has gone away as in
/// `gqa … | head`.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let line = crate::plain(&format!($($argument)*), "\n");
        if let Err(error) = writeln!(std::io::stdout(), "{line}")
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            crate::UNSAID.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }};
}
pub(crate) use say;
