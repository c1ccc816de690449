//! `cargo xtask lint`: format and lints, for this machine and for browsers.

use std::path::Path;
use std::process::Command;

use crate::cargo;
use crate::steps::Step;

const WASM: &str = "wasm32-unknown-unknown";

pub(crate) fn steps() -> Vec<Step> {
    let wasm = "clippy for browsers";
    vec![
        Step::new("format", cargo(["fmt", "--all", "--check"])),
        Step::new("clippy", cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        if has_wasm() {
            Step::new(wasm, cargo(["clippy", "--lib", "--target", WASM, "--", "-D", "warnings"]))
        } else {
            Step::skipped(wasm, format!("no standard library for it here (rustup target add {WASM})"))
        },
    ]
}

/// Whether the toolchain has the standard library of the target.
fn has_wasm() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).current_dir(crate::root()).args(["--print", "sysroot"]).output();
    output.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout);
        Path::new(sysroot.trim()).join("lib/rustlib").join(WASM).join("lib").is_dir()
    })
}
