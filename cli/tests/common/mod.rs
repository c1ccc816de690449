//! What the tests of the command share: how it is started, how it refuses, and folders that go away.
// Not every test needs all of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gqa::Array;
use gqa::keras::{NamedTensor, read_tensors};

/// The command, started like the tests themselves: through the runner that cargo was given, if it was.
pub(crate) fn command(args: &[&str]) -> Command {
    let runner = std::env::var("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().chain([env!("CARGO_BIN_EXE_gqa")]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(args);
    command
}

pub(crate) fn gqa(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It must fail with one sentence on standard error that has all of `parts`.
#[track_caller]
pub(crate) fn fails(args: &[&str], parts: &[&str]) -> Output {
    let output = gqa(args);
    let error = text(&output.stderr);
    assert!(!output.status.success(), "{args:?} went through: {}", text(&output.stdout));
    let said: Vec<_> = error.lines().filter(|line| line.starts_with("gqa: ")).collect();
    assert_eq!(said.len(), 1, "{error}");
    assert!(!error.contains("panicked"), "{error}");
    for part in parts {
        assert!(said[0].contains(part), "`{}` does not say `{part}`", said[0]);
    }
    output
}

#[track_caller]
pub(crate) fn succeeds(args: &[&str]) -> String {
    let output = gqa(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/keras-3.15.1")
        .join(name)
        .display()
        .to_string()
}

pub(crate) fn read(path: &str) -> Vec<NamedTensor> {
    read_tensors(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn float(tensors: &[NamedTensor], name: &str) -> Array {
    tensors.iter().find(|tensor| tensor.name == name).unwrap().clone().into_float().unwrap()
}

/// Largest difference as a part of the largest value.
pub(crate) fn error(got: &Array, expected: &Array) -> f64 {
    assert_eq!(got.shape(), expected.shape());
    let scale = expected.data().iter().fold(0.0, |scale: f32, x| scale.max(x.abs()));
    let pairs = got.data().iter().zip(expected.data());
    pairs.fold(0.0, |worst: f64, (a, b)| worst.max(f64::from((a - b).abs() / scale)))
}

/// A folder that goes away with it.
pub(crate) struct Folder(pub(crate) tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}
