//! Cargo for browsers: with a standard library of wasm32-unknown-unknown, wherever it has to come from.

mod sysroot;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use crate::steps::{Missing, Step, quietly, say};
use crate::{root, target_dir};
use sysroot::Sysroot;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

#[derive(Clone)]
enum Toolchain {
    /// The one that builds everything else.
    Own,
    /// Debian's compiler, with a standard library that was built for it here.
    Debian(Sysroot),
}

/// `cargo ARGS` for browsers. What it builds is apart from the rest, and names no path of this machine.
pub(crate) fn cargo(args: &[&str]) -> Result<Command, String> {
    let toolchain = toolchain()?;
    let (subcommand, rest) = args.split_first().ok_or("no cargo command")?;
    let mut command = crate::cargo([*subcommand, "--target", TARGET]);
    command.args(rest).env("CARGO_TARGET_DIR", built());
    let mut flags = remapping();
    if let Toolchain::Debian(sysroot) = toolchain {
        flags.push(sysroot.choose_for(&mut command));
    }
    set_flags(&mut command, &flags);
    Ok(command)
}

/// The name of [`prepare_step`].
pub(crate) const PREPARED: &str = "compiler for browsers";

/// Gets a compiler and a standard library for browsers, if there are none.
pub(crate) fn prepare_step(missing: Missing) -> Step {
    Step::doing(PREPARED, || toolchain().map(drop)).or(missing).within(150)
}

/// Whether the toolchain that builds everything else can build for browsers, without asking it to get what that takes.
pub(crate) fn is_own() -> bool {
    has_target()
}

/// Whether clippy can be had for browsers: Debian has none for its compiler.
pub(crate) fn has_clippy() -> Result<bool, String> {
    Ok(matches!(toolchain()?, Toolchain::Own))
}

/// Where a package's module lies once it is built.
pub(crate) fn module(profile: &str, name: &str) -> PathBuf {
    built().join(TARGET).join(profile).join(format!("{name}.wasm"))
}

fn built() -> PathBuf {
    target_dir().join("web/cargo")
}

fn toolchain() -> Result<Toolchain, String> {
    static FOUND: OnceLock<Result<Toolchain, String>> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

fn find() -> Result<Toolchain, String> {
    if has_target() || add_target() {
        return Ok(Toolchain::Own);
    }
    Sysroot::get().map(Toolchain::Debian).map_err(|reason| {
        format!("no standard library for {TARGET} (rustup target add {TARGET} gets it), and {reason}")
    })
}

fn has_target() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = said(Command::new(rustc).args(["--print", "sysroot"]));
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

fn add_target() -> bool {
    if !quietly(Command::new("rustup").arg("--version")) {
        return false;
    }
    say(format!("    rustup target add {TARGET}"));
    let added = quietly(Command::new("rustup").current_dir(root()).args(["target", "add", TARGET]));
    if !added {
        say("    rustup can't get it");
    }
    added && has_target()
}

/// What a command prints, where it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.current_dir(root()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Compiler flags for the target alone. Unlike RUSTFLAGS they may hold spaces, and they win over it.
fn set_flags(command: &mut Command, flags: &[OsString]) {
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join(&OsString::from("\x1f")));
}

/// Panics tell the files of dependencies from the folder of the crate on, not by where this machine keeps them.
fn remapping() -> Vec<OsString> {
    // So that the folders are there and the flags the same in the first build. Where it fails, the build says why.
    quietly(crate::cargo(["fetch", "--target", TARGET]).env("CARGO_TARGET_DIR", built()));
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let sources = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let mut folders: Vec<_> = sources.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let flag = |folder: PathBuf| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(folder);
        flag.push("=");
        flag
    };
    folders.into_iter().map(flag).collect()
}
