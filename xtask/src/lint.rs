//! `cargo xtask lint`: format and lints, for this machine and for browsers.

use std::process::Command;

use crate::steps::Step;
use crate::{cargo, is_ci, wasm};

pub(crate) fn steps() -> Vec<Step> {
    println!("=== tools for lints");
    vec![
        Step::new("format", cargo(["fmt", "--all", "--check"])),
        Step::new("clippy", cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        for_browsers().unwrap_or_else(|reason| {
            let missing = if is_ci() { Step::impossible } else { Step::skipped };
            missing("clippy for browsers", reason)
        }),
    ]
}

/// Lints what browsers run. Debian's compiler for browsers has no clippy, and then only compiles it.
fn for_browsers() -> Result<Step, String> {
    let packages = ["--lib", "--package", "gqa", "--package", "gqa-web"];
    let command = |args: &[&str]| -> Result<Command, String> { wasm::cargo(args) };
    if wasm::has_clippy()? {
        let args = [&["clippy"], &packages[..], &["--", "-D", "warnings"]].concat();
        return Ok(Step::new("clippy for browsers", command(&args)?));
    }
    let args = [&["check"], &packages[..]].concat();
    Ok(Step::new("check for browsers (there is no clippy for Debian's compiler)", command(&args)?))
}
