//! `cargo xtask lint`: format and lints, for this machine and for browsers.

use crate::steps::{Missing, Step};
use crate::web::device_tests;
use crate::{cargo, wasm};

/// All lints.
pub(crate) fn steps() -> Vec<Step> {
    let mut steps = native();
    steps.push(wasm::prepare_step(Missing::on_this_machine()));
    steps.extend(for_browsers(true));
    steps
}

/// Those for this machine.
pub(crate) fn native() -> Vec<Step> {
    vec![
        Step::new("format", cargo(["fmt", "--all", "--check"])).within(10),
        Step::new("clippy", cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
            .within(150),
    ]
}

/// Lints what browsers run, after [`wasm::prepare_step`]. Debian's compiler for browsers has no clippy: then this only compiles
/// it, with `check`.
pub(crate) fn for_browsers(check: bool) -> [Step; 2] {
    let lint = |args: Vec<&'static str>| {
        move || {
            let args = args.as_slice();
            match wasm::has_clippy()? {
                true => wasm::cargo(&[&["clippy"], args, &["--", "-D", "warnings"]].concat()),
                false if check => wasm::cargo(&[&["check"], args].concat()),
                false => {
                    Err("Debian's compiler for browsers has no clippy; other steps compile the same".into())
                }
            }
        }
    };
    let missing = if check { Missing::Fails } else { Missing::IsSkipped };
    let packages = vec!["--lib", "--package", "gqa", "--package", "gqa-web"];
    // This profile means tests.
    let tests = [&["--profile", "test"], &device_tests::TESTS[..]].concat();
    [
        Step::making("lints for browsers", lint(packages)).within(120),
        Step::making("lints of tests for browsers", lint(tests)).within(60),
    ]
    .map(|step| step.or(missing).after(wasm::PREPARED))
}
