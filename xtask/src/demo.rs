//! `cargo xtask demo`: a saved Keras layer, run on the best adapter and checked against the reference.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::adapters::{self, Adapter};
use crate::steps::{self, AfterFailure, Step, quoted};
use crate::{cargo, root, target_dir};

/// What is shown, and the arguments of `gqa` that show it.
fn demo(output: &str) -> [(&'static str, Vec<&str>); 3] {
    let model = "tests/fixtures/keras-3.15.1/demo.keras";
    let inputs = "tests/fixtures/keras-3.15.1/demo.inputs.safetensors";
    let run = ["run", "--model", model, "--inputs", inputs, "--output", output];
    [
        ("the adapters of this machine", vec!["adapters"]),
        ("the layer that Keras saved", vec!["inspect", model]),
        (
            "the layer on this machine, checked against the reference",
            [&run[..], &["--causal", "--map", "--check"]].concat(),
        ),
    ]
}

pub(crate) fn run() -> ExitCode {
    let adapter = match adapters::for_demo() {
        Ok(adapter) => adapter,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let steps = [build()].into_iter().chain(steps(&adapter, &program()));
    steps::run(steps.collect(), AfterFailure::Stop)
}

/// The demo on this adapter, by this build of the command.
pub(crate) fn steps(adapter: &Adapter, program: &Path) -> Vec<Step> {
    let output = target_dir().join("demo.safetensors").display().to_string();
    let steps = demo(&output).map(|(title, args)| {
        let typed = format!("gqa {}", args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" "));
        let mut gqa = adapter.command(program);
        gqa.current_dir(root()).args(args);
        Step::new(title, gqa).typed(typed).within(20)
    });
    steps.into()
}

/// Builds the command, as users do.
pub(crate) fn build() -> Step {
    Step::new("build the command", cargo(["build", "--release", "--package", "gqa-cli"]))
}

/// Where it is then.
pub(crate) fn program() -> PathBuf {
    target_dir().join("release").join(format!("gqa{}", std::env::consts::EXE_SUFFIX))
}
