//! `cargo xtask lint`: format and lints, for this machine and for browsers.

use crate::steps::Step;
use crate::web::device_tests;
use crate::{cargo, is_ci, wasm};

pub(crate) fn steps() -> Vec<Step> {
    println!("=== tools for lints");
    let mut steps = vec![
        Step::new("format", cargo(["fmt", "--all", "--check"])),
        Step::new("clippy", cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    ];
    steps.extend(for_browsers().unwrap_or_else(|reason| {
        let missing = if is_ci() { Step::impossible } else { Step::skipped };
        vec![missing("clippy for browsers", reason)]
    }));
    steps
}

/// Lints what browsers run. Debian's compiler for browsers has no clippy, and then only compiles it.
fn for_browsers() -> Result<Vec<Step>, String> {
    let packages = ["--lib", "--package", "gqa", "--package", "gqa-web"];
    // This profile means tests.
    let tests = [&["--profile", "test"], &device_tests::TESTS[..]].concat();
    if wasm::has_clippy()? {
        let command = |args: &[&str]| wasm::cargo(&[&["clippy"], args, &["--", "-D", "warnings"]].concat());
        return Ok(vec![
            Step::new("clippy for browsers", command(&packages)?),
            Step::new("clippy of tests for browsers", command(&tests)?),
        ]);
    }
    let args = [&["check"], &packages[..]].concat();
    Ok(vec![Step::new("check for browsers (there is no clippy for Debian's compiler)", wasm::cargo(&args)?)])
}
