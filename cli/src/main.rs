//! The `gqa` command.

mod adapters;
mod files;
mod inspect;
mod map;
mod run;

use std::process::ExitCode;

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
    /// Run a layer on inputs from a safetensors file
    Run(run::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Adapters => adapters::print(),
        Command::Inspect { file } => inspect::print(&file),
        Command::Run(args) => run::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gqa: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line; a reader that has gone away, as in `gqa … | head`, ends the command quietly.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        if writeln!(std::io::stdout(), $($argument)*).is_err() {
            std::process::exit(0);
        }
    }};
}
pub(crate) use say;
