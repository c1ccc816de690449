//! What comes from elsewhere: Node, packages of npm, and a browser.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::debian::{self, run};
use crate::steps::{quietly, say};
use crate::{folders, root, target_dir};

/// The oldest Node that all of them run on.
const NODE: u32 = 20;

const CHROMIUM: [&str; 7] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/usr/bin/google-chrome-stable",
    "/snap/bin/chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
];

/// A Node command in the root of the workspace.
pub(super) fn node() -> Command {
    let mut command = Command::new("node");
    command.current_dir(root());
    command
}

/// The folder that holds `node_modules` with what `web/tools/package.json` names, installed if it is not.
pub(super) fn installed() -> Result<PathBuf, String> {
    let listed = root().join("web/tools/package.json");
    let told = |error: io::Error| format!("{}: {error}", listed.display());
    let wanted = fs::read_to_string(&listed).map_err(told)?;
    ensure_node()?;
    let folder = target_dir().join("web/tools");
    if fs::read_to_string(folder.join("package.json")).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    say(format!(
        "    installing what web/tools/package.json names with npm into {} (120 MB)",
        folder.display()
    ));
    let args = ["install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"];
    folders::replace(&folder, |new| {
        folders::copy_into(new, &listed)?;
        run(Command::new(npm()).current_dir(new).args(args))
    })?;
    Ok(folder)
}

fn ensure_node() -> Result<(), String> {
    let usable = || node_version() >= Some(NODE) && quietly(Command::new(npm()).arg("--version"));
    let missing = || format!("Node {NODE} or newer with npm (nodejs.org has it for every system)");
    if usable() {
        return Ok(());
    }
    debian::install(&["nodejs", "npm"], false).map_err(|error| format!("{}: {error}", missing()))?;
    if usable() { Ok(()) } else { Err(format!("{}: the one of the system is older", missing())) }
}

fn npm() -> &'static str {
    if cfg!(windows) { "npm.cmd" } else { "npm" }
}

fn node_version() -> Option<u32> {
    let output = Command::new("node").arg("--version").output().ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// The 20 of `v20.1.2`.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Chromium, or Chrome: the one that `CHROMIUM` names, or one in the usual places, or a new one.
pub(super) fn chromium() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("CHROMIUM").filter(|named| !named.is_empty()).map(PathBuf::from) {
        return if named.is_file() {
            Ok(named)
        } else {
            Err(format!("CHROMIUM names {}, which is no file", named.display()))
        };
    }
    let find = || CHROMIUM.iter().map(Path::new).find(|path| path.is_file()).map(Into::into);
    if let Some(found) = find() {
        return Ok(found);
    }
    let missing = "Chromium or Chrome, in a usual place or where CHROMIUM says";
    debian::install(&["chromium"], false).map_err(|error| format!("{missing}: {error}"))?;
    find().ok_or_else(|| format!("{missing}: installed, and still not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_node_is_read() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("v8.0.0"), Some(8));
        assert_eq!(major("20.1.0"), None);
        assert_eq!(major(""), None);
    }
}
