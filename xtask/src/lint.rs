//! `cargo xtask lint`: format and lints, for this machine and for browsers.

use crate::steps::{Missing, Step};
use crate::web::device_tests;
use crate::{cargo, wasm};

/// All lints.
pub(crate) fn steps() -> Vec<Step> {
    let mut steps = native();
    steps
        .push(Step::doing("compiler for browsers", wasm::prepare).or(Missing::on_this_machine()).within(150));
    steps.extend(for_browsers().map(Step::after_success));
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

/// Lints what browsers run. Debian's compiler for browsers has no clippy, and then only compiles it.
pub(crate) fn for_browsers() -> [Step; 2] {
    let lint = |args: Vec<&'static str>| {
        move || {
            let args = args.as_slice();
            if wasm::has_clippy()? {
                wasm::cargo(&[&["clippy"], args, &["--", "-D", "warnings"]].concat())
            } else {
                wasm::cargo(&[&["check"], args].concat())
            }
        }
    };
    let packages = vec!["--lib", "--package", "gqa", "--package", "gqa-web"];
    // This profile means tests.
    let tests = [&["--profile", "test"], &device_tests::TESTS[..]].concat();
    [
        Step::making("lints for browsers", lint(packages)).within(120),
        Step::making("lints of tests for browsers", lint(tests)).within(60),
    ]
}
