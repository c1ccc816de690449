//! `cargo xtask web`: the npm package `gqa-web`, and a site that uses it.
//!
//! Cargo builds the module, wasm-bindgen its glue, wasm-opt makes it smaller; the package's own files and the page join
//! them. Everything that is made, or comes from npm, lies below `target/web`.

pub(crate) mod device_tests;
mod package;
mod serve;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{fs, io};

use crate::steps::{self, AfterFailure, Missing, Step};
use crate::{demo, root, target_dir};

/// What the tests share; every other script of the folder is a test.
const SUPPORT: &str = "support.mjs";

/// Builds, and shows the page at this port, 0 being any.
pub(crate) fn run(port: u16) -> ExitCode {
    let built = steps::run(package::steps(Missing::Fails), AfterFailure::Stop);
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

/// The steps that build the package and the device tests, the last of them.
const BUILT: &str = "device tests for browsers";

/// Builds, and tests in a browser: `cargo xtask web --check`.
pub(crate) fn check() -> ExitCode {
    let mut steps = build_steps(Missing::Fails);
    steps.extend(test_steps(Missing::Fails));
    steps.push(demo::build().after_success());
    steps.push(report_step(&demo::program()).after_success());
    steps::run(steps, AfterFailure::Stop)
}

/// Builds what is tested in a browser.
pub(crate) fn build_steps(missing: Missing) -> Vec<Step> {
    let mut steps = package::steps(missing);
    steps.push(package::size_step().after_success());
    steps.extend(device_tests::steps(BUILT));
    steps
}

/// Tests in a browser what was built.
pub(crate) fn test_steps(missing: Missing) -> Vec<Step> {
    let browser = Step::doing("a browser", || tools::chromium().map(drop)).or(missing).after(BUILT);
    vec![browser.within(60), browser_tests().after_success().within(480)]
}

/// The command makes its report of what the page exported.
pub(crate) fn report_step(gqa: &Path) -> Step {
    let mut report = Command::new(gqa);
    report.current_dir(root()).arg("report").arg(results());
    report.arg("-o").arg(target_dir().join("web/report.html"));
    Step::new("a report of what the page measured", report).within(10)
}

/// Where the tests put what the page exports.
fn results() -> PathBuf {
    target_dir().join("web/results.json")
}

/// Node's test runner on the scripts of `web/tests`; what it passes on to them is told in `web/tests/support.mjs`.
fn browser_tests() -> Step {
    Step::making("tests in a browser", || {
        let tests = tests().map_err(|error| format!("web/tests: {error}"))?;
        if tests.is_empty() {
            return Err("there are none in web/tests".into());
        }
        let mut node = tools::node();
        node.arg("--test").args(tests);
        node.env("GQA_SITE", package::site()).env("GQA_PACKAGE", package::folder());
        node.env("GQA_DEVICE_TESTS", device_tests::folder());
        node.env("GQA_TOOLS", tools::installed()?).env("CHROMIUM", tools::chromium()?);
        // That of an earlier run would be no result of this one.
        if let Err(error) = fs::remove_file(results())
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(format!("{}: {error}", results().display()));
        }
        node.env("GQA_RESULTS", results());
        Ok(node)
    })
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
