//! `cargo xtask test`: everything that has to hold before a change is good.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::adapters::{self, Adapter};
use crate::steps::{self, AfterFailure, Step};
use crate::{cargo, demo, keras, lint, root, target_dir, web};

/// The test targets that run kernels, beside the library's own tests, and so are worth running on every adapter.
const DEVICE_TESTS: [&str; 6] =
    ["conformance", "layer", "fixtures", "own_device", "gradients", "keras_training"];

pub(crate) fn run() -> ExitCode {
    let adapters = match adapters::for_tests() {
        Ok(adapters) => adapters,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let mut steps = lint::steps();
    let mut docs = cargo(["doc", "--workspace", "--lib", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    steps.push(Step::new("docs", docs));
    steps.push(on(&adapters.main, "all tests", cargo(["test", "--workspace", "--no-fail-fast"])));
    for (name, adapter) in &adapters.others {
        steps.push(match adapter {
            Ok(adapter) => device_tests(adapter),
            Err(reason) => Step::skipped(format!("device tests on {name}"), reason),
        });
    }
    steps.extend(keras::steps());
    for example in examples() {
        steps.push(run_example(&adapters.main, &example));
    }
    steps.extend(demo::steps(&adapters.main));
    steps.extend(web::steps());
    steps::run(steps, AfterFailure::Continue)
}

fn on(adapter: &Adapter, what: &str, mut command: Command) -> Step {
    adapter.choose_for(&mut command);
    Step::new(format!("{what} on {}", adapter.name), command)
}

/// The kernel and layer cases, of large tables some. With the features of the whole workspace, they are the binaries built
/// before.
fn device_tests(adapter: &Adapter) -> Step {
    let targets = DEVICE_TESTS.into_iter().flat_map(|name| ["--test", name]);
    let mut command = cargo(["test", "--workspace", "--no-fail-fast", "--lib"].into_iter().chain(targets));
    command.env("GQA_TEST_CASES", "some");
    on(adapter, "device tests", command)
}

/// An example, as the tests built it: cargo would build it and all it needs again, without the features of the workspace.
fn run_example(adapter: &Adapter, name: &str) -> Step {
    let program = target_dir().join("debug/examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let mut command = adapter.command(&program);
    command.current_dir(root());
    Step::new(format!("example {name} on {}", adapter.name), command)
}

fn examples() -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join("examples")) else { return Vec::new() };
    let stem = |path: &Path| match path.extension() {
        Some(extension) if extension == "rs" => Some(path.file_stem()?.to_str()?.to_owned()),
        None if path.join("main.rs").is_file() => Some(path.file_name()?.to_str()?.to_owned()),
        _ => None,
    };
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| stem(&entry.path())).collect();
    names.sort();
    names
}
