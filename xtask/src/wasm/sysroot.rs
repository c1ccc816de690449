//! A standard library for browsers out of Debian's packages, for where rustup can't get one.
//!
//! Debian builds browsers with a recent compiler, `rustc-web`, and carries its library's source. The library is built
//! once, into a folder that holds nothing else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use super::{TARGET, remapping, said, set_flags};
use crate::debian::{self, run};
use crate::steps::say;
use crate::{folders, target_dir};

const RUSTC: &str = "/usr/bin/rustc";
const SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
/// What the library is made of; `test` is the harness of tests.
const CRATES: &str = "std,panic_abort,test";
/// Names the compiler that a library was built with, which no other can read, and the crates.
const MADE: &str = "made.txt";

/// A folder with the library, and the linker of the toolchain that builds everything else.
#[derive(Clone)]
pub(super) struct Sysroot {
    folder: PathBuf,
    linker: PathBuf,
}

impl Sysroot {
    /// That of an earlier run, if it is of this compiler, or a new one.
    pub(super) fn get() -> Result<Self, String> {
        if !debian::is_debian() {
            return Err("only Debian is known to have another".into());
        }
        let linker = linker()?;
        let compiler = compiler()?;
        let folder = target_dir().join("web/std/sysroot");
        let made = format!("{compiler}\n{CRATES}");
        if !fs::read_to_string(folder.join(MADE)).is_ok_and(|kept| kept == made) {
            say("    building Debian's standard library for browsers (a minute, once)");
            folders::replace(&folder, |new| build(new, &made))?;
        }
        Ok(Self { folder, linker })
    }

    /// Makes cargo take Debian's compiler. The flag that is returned makes that compiler take the library.
    pub(super) fn choose_for(&self, command: &mut Command) -> OsString {
        command.env("RUSTC", RUSTC).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &self.linker);
        let mut flag = OsString::from("--sysroot=");
        flag.push(&self.folder);
        flag
    }
}

/// What Debian's compiler says of itself, after installing it where it is missing.
fn compiler() -> Result<String, String> {
    let version = || said(Command::new(RUSTC).arg("-vV")).filter(|_| Path::new(SOURCE).exists());
    if let Some(version) = version().filter(|version| is_recent(version)) {
        return Ok(version);
    }
    debian::install(&["rustc-web", "rust-web-src"], false)
        .map_err(|error| format!("Debian's rustc-web and rust-web-src: {error}"))?;
    let version = version().ok_or("rustc-web and rust-web-src are installed and can't be used")?;
    if !is_recent(&version) {
        return Err(format!("Debian's {} is too old", version.lines().next().unwrap_or(RUSTC)));
    }
    Ok(version)
}

/// Whether `rustc -vV` tells of a compiler that the workspace allows.
fn is_recent(version: &str) -> bool {
    let parts = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.trim().split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    };
    field(version, "release").and_then(parts) >= parts(env!("CARGO_PKG_RUST_VERSION"))
}

/// What `rustc -vV` says after `name: `.
fn field<'a>(version: &'a str, name: &str) -> Option<&'a str> {
    version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The linker of the toolchain; Debian's compiler comes without one for browsers.
fn linker() -> Result<PathBuf, String> {
    let sysroot = said(Command::new("rustc").args(["--print", "sysroot"])).ok_or("there is no rustc")?;
    let version = said(Command::new("rustc").arg("-vV")).ok_or("there is no rustc")?;
    let host = field(&version, "host").ok_or("rustc names no host")?;
    let linker = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld");
    if !linker.is_file() {
        return Err(format!("there is no linker for browsers ({})", linker.display()));
    }
    Ok(linker)
}

/// Has cargo build the library for an empty crate, and keeps what came out.
fn build(folder: &Path, made: &str) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    let package = folder.join("package");
    fs::create_dir_all(package.join("src")).map_err(told)?;
    fs::write(package.join("src/lib.rs"), "#![no_std]\n").map_err(told)?;
    let manifest = "[package]\nname = \"nothing\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
                    [profile.release]\npanic = \"abort\"\n";
    fs::write(package.join("Cargo.toml"), manifest).map_err(told)?;
    let crates = format!("-Zbuild-std={CRATES}");
    let mut command = crate::cargo(["build", "--release", "--target", TARGET, &crates]);
    command.current_dir(&package).env("CARGO_TARGET_DIR", package.join("target"));
    command.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
    // What fat LTO needs.
    let mut flags = vec!["-Cembed-bitcode=yes".into()];
    flags.extend(remapping());
    set_flags(&mut command, &flags);
    run(&mut command)?;
    let libraries = folder.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&libraries).map_err(told)?;
    for entry in fs::read_dir(package.join("target").join(TARGET).join("release/deps")).map_err(told)? {
        let path = entry.map_err(told)?.path();
        let is_own = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnothing-"));
        if path.extension().is_some_and(|extension| extension == "rlib") && !is_own {
            folders::copy_into(&libraries, &path)?;
        }
    }
    fs::remove_dir_all(package).map_err(told)?;
    fs::write(folder.join(MADE), made).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_compilers_are_compared_as_numbers() {
        let version =
            |release| format!("rustc {release} (abc)\nhost: a-b-c\nrelease: {release}\nLLVM version: 22");
        for (release, recent) in
            [("1.63.0", false), ("1.9.0", false), ("1.200.0-nightly", true), ("2.0.0", true)]
        {
            assert_eq!(is_recent(&version(release)), recent, "{release}");
        }
        assert!(!is_recent("no version"));
        assert_eq!(field(&version("1.96.0"), "host"), Some("a-b-c"));
    }
}
