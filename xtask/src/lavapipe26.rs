//! A recent lavapipe beside the system's own, without installing it.
//!
//! Debian's stable release keeps a Mesa of its own time; a newer one is in the backports of the release after Debian 12.
//! Its packages are unpacked with the C library they were built for, and programs are started through that library's
//! loader.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::debian::{self, run};
use crate::target_dir;

const SUITES: [&str; 2] = ["trixie", "trixie-backports"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked lavapipe.
pub(crate) struct Lavapipe26 {
    directory: PathBuf,
}

impl Lavapipe26 {
    /// That of an earlier run.
    pub(crate) fn find() -> Option<Self> {
        let unpacked = Self { directory: target_dir().join("lavapipe26") };
        unpacked.driver_file().is_file().then_some(unpacked)
    }

    /// That of an earlier run, or a new one.
    pub(crate) fn get() -> Result<Self, String> {
        if let Some(unpacked) = Self::find() {
            return Ok(unpacked);
        }
        if !debian::is_debian() || std::env::consts::ARCH != "x86_64" {
            return Err("unpacked on Debian for x86-64 only".into());
        }
        let unpacked = Self { directory: target_dir().join("lavapipe26") };
        let path = unpacked.directory.display().to_string();
        if path.contains(char::is_whitespace) {
            return Err(format!("cargo can't run programs through a path with spaces ({path})"));
        }
        println!("    unpacking lavapipe 26 from Debian's {} into {path} (310 MB)", SUITES[1]);
        unpacked.unpack().map_err(|error| format!("could not be unpacked: {error}"))?;
        Ok(unpacked)
    }

    /// The file that tells the Vulkan loader where the driver is. It is written last.
    pub(crate) fn driver_file(&self) -> PathBuf {
        self.directory.join("lvp.json")
    }

    /// What to put before the path of a program to run it with the libraries of the driver.
    pub(crate) fn runner(&self) -> String {
        let libraries = self.libraries();
        format!("{0}/ld-linux-x86-64.so.2 --library-path {0}", libraries.display())
    }

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    fn libraries(&self) -> PathBuf {
        self.root().join("usr/lib/x86_64-linux-gnu")
    }

    fn unpack(&self) -> Result<(), String> {
        let apt = self.directory.join("apt");
        let archives = apt.join("cache/archives");
        for directory in [apt.join("lists/partial"), archives.join("partial"), self.root()] {
            fs::create_dir_all(directory).map_err(told)?;
        }
        let uri = archive().ok_or("no Debian archive among the system's package sources")?;
        let sources = SUITES.map(|suite| format!("deb [signed-by={KEYRING}] {uri} {suite} main\n"));
        fs::write(apt.join("sources.list"), sources.concat()).map_err(told)?;
        fs::write(apt.join("status"), "").map_err(told)?;
        run(&mut apt_get(&apt, &["update"]))?;
        let packages = ["mesa-vulkan-drivers", "libvulkan1"];
        let download = ["-y", "--download-only", "-t", SUITES[1], "install"];
        run(apt_get(&apt, &download).args(packages))?;
        for entry in fs::read_dir(archives).map_err(told)? {
            let path = entry.map_err(told)?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("-x").arg(path).arg(self.root()))?;
            }
        }
        fs::remove_dir_all(apt).map_err(told)?;
        let driver = self.libraries().join("libvulkan_lvp.so");
        let text = format!(
            r#"{{"file_format_version": "1.0.1", "ICD": {{"api_version": "1.4.0", "library_path": "{}"}}}}"#,
            driver.display()
        );
        fs::write(self.driver_file(), text).map_err(told)
    }
}

/// An apt-get that knows nothing of the system's packages and keeps everything in `apt`, so that it needs no root.
fn apt_get(apt: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    let keep = [
        ("Dir::Etc::SourceList", apt.join("sources.list")),
        ("Dir::Etc::SourceParts", "/dev/null".into()),
        ("Dir::State::Lists", apt.join("lists")),
        ("Dir::State::status", apt.join("status")),
        ("Dir::Cache", apt.join("cache")),
    ];
    for (option, path) in keep {
        command.arg("-o").arg(format!("{option}={}", path.display()));
    }
    for option in ["APT::Install-Recommends=false", "APT::Sandbox::User=root", "Debug::NoLocking=true"] {
        command.args(["-o", option]);
    }
    command.arg("-qq").args(args);
    command
}

/// Where the system gets Debian's packages from.
fn archive() -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    archive_in(&read("/etc/apt/sources.list.d/debian.sources"), &read("/etc/apt/sources.list"))
}

/// The first archive in apt's newer or older form of sources.
fn archive_in(newer: &str, older: &str) -> Option<String> {
    let newer = newer.lines().filter(|line| line.starts_with("URIs:"));
    let older = older.lines().filter(|line| line.starts_with("deb "));
    let mut words = newer.chain(older).flat_map(str::split_whitespace);
    words.find(|word| word.contains(":/")).map(Into::into)
}

fn told(error: io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_found_in_both_forms_of_sources() {
        let newer = "# was: URIs: file:/no\nTypes: deb\nURIs: file:/mirror/debian\nSuites: bookworm\n";
        let older = "# deb file:/no\ndeb [arch=amd64 signed-by=/a/key] file:/old/debian bookworm main\n";
        assert_eq!(archive_in(newer, older).as_deref(), Some("file:/mirror/debian"));
        assert_eq!(archive_in("", older).as_deref(), Some("file:/old/debian"));
        assert_eq!(archive_in("", ""), None);
    }
}
