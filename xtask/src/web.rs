//! `cargo xtask web`: the npm package `gqa-web`, and a site that uses it.
//!
//! Cargo builds the module, wasm-bindgen its glue, wasm-opt makes it smaller; the package's own files and the page join
//! them. Everything that is made, or comes from npm, lies below `target/web`.

pub(crate) mod device_tests;
mod package;
mod serve;
mod tools;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{fs, io};

use crate::steps::{self, AfterFailure, Step};
use crate::{demo, is_ci, root, target_dir};

/// What the tests share; every other script of the folder is a test.
const SUPPORT: &str = "support.mjs";

/// Builds, and shows the page at this port, 0 being any.
pub(crate) fn run(port: u16) -> ExitCode {
    println!("=== tools for the web");
    let built = match package::steps() {
        Ok(steps) => steps::run(steps, AfterFailure::Stop),
        Err(reason) => {
            eprintln!("The package can't be built: {reason}");
            return ExitCode::FAILURE;
        }
    };
    if built != ExitCode::SUCCESS {
        return built;
    }
    match serve::serve(&package::site(), port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The page can't be served: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds, and tests in a browser: `cargo xtask web --check`.
pub(crate) fn check() -> ExitCode {
    steps::run(check_steps(Step::impossible), AfterFailure::Stop)
}

/// The steps of [`check`] for a machine that may lack what they need. On CI it may not.
pub(crate) fn steps() -> Vec<Step> {
    check_steps(if is_ci() { Step::impossible } else { Step::skipped })
}

fn check_steps(missing: fn(&'static str, String) -> Step) -> Vec<Step> {
    println!("\n=== tools for the web");
    let mut steps = match package::steps() {
        Ok(steps) => steps,
        Err(reason) => return vec![missing("package for browsers", reason)],
    };
    steps.push(package::size_step().after_success());
    match device_tests::steps() {
        Ok(build) => steps.extend(build.into_iter().map(Step::after_success)),
        Err(reason) => steps.push(missing("device tests for browsers", reason)),
    }
    let what = "tests in a browser";
    let tests = match tools::chromium() {
        Ok(chromium) => browser_tests(what, chromium),
        Err(reason) => Ok(missing(what, reason)),
    };
    steps.push(tests.unwrap_or_else(|reason| Step::impossible(what, reason)));
    steps.extend(report_steps());
    steps
}

/// The command makes its report of what the page exported.
fn report_steps() -> [Step; 2] {
    let mut report = Command::new(demo::program());
    report.current_dir(root()).arg("report").arg(results());
    report.arg("-o").arg(target_dir().join("web/report.html"));
    [demo::build().after_success(), Step::new("a report of what the page measured", report).after_success()]
}

/// Where the tests put what the page exports.
fn results() -> PathBuf {
    target_dir().join("web/results.json")
}

/// Node's test runner on the scripts of `web/tests`; what it passes on to them is told in `web/tests/support.mjs`.
fn browser_tests(what: &str, chromium: PathBuf) -> Result<Step, String> {
    let tests = tests().map_err(|error| format!("web/tests: {error}"))?;
    if tests.is_empty() {
        return Err("there are none in web/tests".into());
    }
    let mut node = tools::node();
    node.arg("--test").args(tests);
    node.env("GQA_SITE", package::site()).env("GQA_PACKAGE", package::folder());
    node.env("GQA_DEVICE_TESTS", device_tests::folder());
    node.env("GQA_TOOLS", tools::installed()?).env("CHROMIUM", chromium);
    // That of an earlier run would be no result of this one.
    if let Err(error) = fs::remove_file(results())
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(format!("{}: {error}", results().display()));
    }
    node.env("GQA_RESULTS", results());
    Ok(Step::new(what, node).after_success())
}

/// By name, because what a folder means to Node's test runner differs by version.
fn tests() -> io::Result<Vec<PathBuf>> {
    let mut tests = Vec::new();
    for entry in fs::read_dir(root().join("web/tests"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") && !path.ends_with(SUPPORT) {
            tests.push(path.strip_prefix(root()).map(Into::into).unwrap_or(path));
        }
    }
    tests.sort();
    Ok(tests)
}
