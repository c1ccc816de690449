//! The tests of kernels and layers as modules for browsers: `web/tests/device.mjs` runs them.

use std::env::consts::EXE_SUFFIX;
use std::path::PathBuf;

use crate::steps::Step;
use crate::{folders, root, target_dir, wasm};

/// The programs of tests that run in browsers.
pub(crate) const TESTS: [&str; 7] = ["--package", "gqa", "--lib", "--test", "layer", "--test", "gradients"];

/// What the modules meet in a browser.
const PAGE: &str = "web/tests/page";

pub(super) fn folder() -> PathBuf {
    target_dir().join("web/device-tests")
}

/// Builds the modules, in a step of this name. Takes `xtask-bindgen` as the package left it.
pub(super) fn steps(built: &str) -> [Step; 2] {
    let page = || folders::replace(&folder(), |new| folders::copy_all(&root().join(PAGE), new));
    let build = || {
        let runner = target_dir().join("debug").join(format!("xtask-bindgen{EXE_SUFFIX}"));
        // In place of running what it built, cargo gives it to the runner.
        let runner = format!("{:?}", [runner.as_path(), "--tests".as_ref(), folder().as_path()]);
        let runner = format!("target.{}.runner={runner}", wasm::TARGET);
        let how = ["--profile", "web-tests", "--config", &runner];
        let mut build = wasm::cargo(&[&["test"], &TESTS[..], &how].concat())?;
        build.env("GQA_TUNING", "off");
        Ok(build)
    };
    [
        Step::doing("page of the device tests", page).after_success().within(10),
        Step::making(built, build).after_success().within(420),
    ]
}
