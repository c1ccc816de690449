//! `cargo xtask test`: what has to hold before a change is good. With `--all`: what has to hold before it is published.
//!
//! Budgets are those of two cores and an empty target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::adapters::{self, Adapter};
use crate::steps::{self, AfterFailure, Missing, Step};
use crate::{cargo, demo, keras, lint, root, target_dir, wasm, web};

/// The test targets that run kernels, beside the library's own tests, and so are worth running on every adapter.
const DEVICE_TESTS: [&str; 6] =
    ["conformance", "layer", "fixtures", "own_device", "gradients", "keras_training"];

pub(crate) fn run(all: bool) -> ExitCode {
    let start = Instant::now();
    let adapters = match adapters::for_tests(all) {
        Ok(adapters) => adapters,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let mut steps = vec![Step::done("adapters", start.elapsed())];
    let missing = Missing::on_this_machine();
    steps.extend(lint::native());
    if !all && wasm::is_own() {
        steps.push(wasm::prepare_step(missing));
        steps.extend(lint::for_browsers(true));
    } else if !all {
        let reason = "the toolchain has no target for browsers; `cargo xtask lint` gets one";
        steps.push(Step::skipped("lints for browsers", reason));
    }
    steps.push(docs());
    if all {
        // What one thread compiles leaves room for tests, and the other way round.
        let build = web::build_steps(missing).into_iter().chain(lint::for_browsers(false));
        steps.extend(build.map(Step::beside));
    }
    let tests = cargo(["test", "--workspace", "--no-fail-fast"]);
    steps.push(on(&adapters.main, "all tests", tests).within(if all { 1300 } else { 800 }));
    for example in examples() {
        steps.push(run_example(&adapters.main, &example));
    }
    steps.extend(demo::steps(&adapters.main, &program()));
    if all {
        steps.push(keras::write_step());
        steps.extend(keras::load_steps().map(Step::beside));
        for (name, adapter) in &adapters.others {
            steps.push(match adapter {
                Ok(adapter) => device_tests(adapter),
                Err(reason) => Step::skipped(format!("device tests on {name}"), reason),
            });
        }
        steps.extend(web::test_steps(missing));
        steps.push(web::report_step(&program()).after_success());
    }
    steps::run(steps, AfterFailure::Continue)
}

/// The documentation. Examples are told too, because with them cargo takes the features of dependencies that tests ask for, and
/// so what clippy made of these.
fn docs() -> Step {
    let mut docs = cargo(["doc", "--workspace", "--lib", "--examples", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    Step::new("docs", docs).within(90)
}

fn on(adapter: &Adapter, what: &str, mut command: Command) -> Step {
    adapter.choose_for(&mut command);
    Step::new(format!("{what} on {}", adapter.name), command)
}

/// The kernel and layer cases, a sample of each table. With the features of the whole workspace, they are the binaries built
/// before.
fn device_tests(adapter: &Adapter) -> Step {
    let targets = DEVICE_TESTS.into_iter().flat_map(|name| ["--test", name]);
    let mut command = cargo(["test", "--workspace", "--no-fail-fast", "--lib"].into_iter().chain(targets));
    command.env("GQA_TEST_SAMPLE", adapter.name);
    let step = on(adapter, "device tests", command);
    if adapter.is_single_threaded() { step.within(600).beside() } else { step.within(420) }
}

/// What the tests built: cargo would build it and all it needs again, without the features of the workspace.
fn built(name: &str) -> PathBuf {
    target_dir().join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The command.
fn program() -> PathBuf {
    built("gqa")
}

fn run_example(adapter: &Adapter, name: &str) -> Step {
    let mut command = adapter.command(&built(&format!("examples/{name}")));
    command.current_dir(root());
    Step::new(format!("example {name} on {}", adapter.name), command).within(40)
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
