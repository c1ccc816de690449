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
    let clippy = |targets: &[&'static str]| {
        cargo([&["clippy", "--workspace"], targets, &["--", "-D", "warnings"]].concat())
    };
    let mut steps = vec![
        Step::new("format", cargo(["fmt", "--all", "--check"])).within(10),
        Step::new("clippy", clippy(&["--all-targets"])).within(240),
    ];
    // The other sets of features differ from one of these by modules that do not know each other.
    for (name, features) in [
        ("no features", "gqa-features/lint"),
        ("keras", "gqa-features/lint,gqa-features/keras"),
        ("training", "gqa-features/lint,gqa-features/training"),
        ("bench", "gqa-features/lint,gqa-features/bench"),
    ] {
        let lint = clippy(&["--example", "some_features", "--features", features]);
        // The first may wait for cargo's lock while steps beside it compile.
        steps.push(Step::new(format!("clippy with {name}"), lint).within(120).after_success());
    }
    steps.push(Step::doing("crates without features", crates_without_features).within(5));
    steps
}

/// Fails where attention and the layer alone would compile what only reads and writes files.
fn crates_without_features() -> Result<(), String> {
    let tree = ["tree", "--package", "gqa", "--no-default-features", "--edges", "normal", "--prefix", "none"];
    let output = cargo(tree).output().map_err(|error| format!("cargo tree: {error}"))?;
    let tree = String::from_utf8_lossy(&output.stdout);
    let compiled = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    if !output.status.success() || !compiled("wgpu") {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    match ["hdf5-pure", "safetensors", "zip"].into_iter().find(|name| compiled(name)) {
        Some(name) => Err(format!("without features, gqa depends on {name}")),
        None => Ok(()),
    }
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
        Step::making("lints for browsers", lint(packages)).within(300),
        Step::making("lints of tests for browsers", lint(tests)).within(120),
    ]
    .map(|step| step.or(missing).after(wasm::PREPARED))
}
