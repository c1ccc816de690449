//! The chores of the workspace, as `cargo xtask NAME`.

mod adapters;
mod debian;
mod demo;
mod folders;
mod keras;
mod lavapipe26;
mod lint;
mod steps;
mod test;
mod wasm;
mod web;
mod wgsl;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use steps::AfterFailure;

const USAGE: &str = "\
Usage: cargo xtask NAME

  demo   run a saved Keras layer on the best adapter and check it against the reference
  test   format, lints, docs, every test on one adapter, examples and demo; with --all also a sample of the tests on the
         other software adapters, the tests in Chromium, and Keras loading what is written
  lint   format and lints alone
  web    build the npm package for browsers and show its page on this machine (--port N: at this port);
         with --check build it, and test it in Chromium
  keras  Keras itself loads the files that the library writes
  wgsl   print the WGSL of a kernel as a driver gets it; without a kernel, list those there are (wgsl --help)

Where no adapter exists, demo and test say which software one they install, and install it. keras and test --all install
Keras with pip below the target folder. web and test --all install what web/tools/package.json names with npm below the target folder, and
take rustup's target wasm32-unknown-unknown; what else they lack (Node; Chromium; where rustup gets no target, Debian's
compiler) they install on Debian and name elsewhere.
GQA_ADAPTER=NAME makes them use the adapter of that name, index or backend, and no other.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["demo"] => demo::run(),
        ["test"] => test::run(false),
        ["test", "--all"] => test::run(true),
        ["keras"] => steps::run(keras::steps(), AfterFailure::Stop),
        ["web"] => web::run(0),
        ["web", "--port", port] => match port.parse() {
            Ok(port) => web::run(port),
            Err(_) => usage_error(),
        },
        ["web", "--check"] => web::check(),
        ["lint"] => steps::run(lint::steps(), AfterFailure::Continue),
        ["wgsl", ref rest @ ..] => wgsl::run(rest),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => usage_error(),
    }
}

fn usage_error() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Whether nobody is there to read that something was skipped.
fn is_ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

/// The root of the workspace.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo builds, and where xtask keeps what it unpacks.
fn target_dir() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A cargo command in the root of the workspace, without what `cargo run` put into the environment of xtask.
fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    for (name, _) in std::env::vars_os() {
        let of_xtask = |name: &str| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"]
                .iter()
                .any(|p| name.starts_with(p))
        };
        if name.to_str().is_some_and(of_xtask) {
            command.env_remove(name);
        }
    }
    command
}
