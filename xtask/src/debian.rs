//! Debian's package manager.

use std::io::IsTerminal;
use std::process::Command;
use std::{fs, io};

use crate::steps::{quietly, say, written};

/// Whether the system is `id` or, with `or_like`, descends from it.
fn is(id: &str, or_like: bool) -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().filter_map(|line| line.split_once('=')).any(|(key, value)| {
        (key == "ID" || or_like && key == "ID_LIKE")
            && value.trim_matches('"').split_whitespace().any(|word| word == id)
    })
}

/// Whether this is Debian itself.
pub(crate) fn is_debian() -> bool {
    is("debian", false)
}

/// Installs packages, having said so. Without root it takes sudo, and where that wants a password, only with `ask`.
pub(crate) fn install(packages: &[&str], ask: bool) -> Result<(), String> {
    let names = packages.join(" ");
    if !is("debian", true) {
        return Err(format!(
            "not installed, and only Debian and Ubuntu are known here (they call it {names})"
        ));
    }
    let sudo: &[&str] = if says(Command::new("id").arg("-u"), "0") {
        &[]
    } else if quietly(Command::new("sudo").args(["-n", "true"])) {
        &["sudo", "-n"]
    } else if ask && io::stdin().is_terminal() {
        &["sudo"]
    } else {
        return Err(format!("not installed, and that takes root (apt-get install {names})"));
    };
    say(format!("    installing {names} through apt-get"));
    for args in [&["update"][..], &["install", "-y", "--no-install-recommends"]] {
        let mut words =
            sudo.iter().chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]).chain(args);
        let mut command = Command::new(words.next().unwrap_or(&"env"));
        command.args(words);
        if args.len() > 1 {
            command.args(packages);
        }
        run(&mut command)?;
    }
    Ok(())
}

/// Runs a command whose output is worth showing only where it fails.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output();
    let failed = |reason: String| format!("`{}` failed: {reason}", written(command));
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let end: Vec<_> = text.lines().rev().take(5).collect();
    Err(failed(end.into_iter().rev().collect::<Vec<_>>().join("\n")))
}

fn says(command: &mut Command, expected: &str) -> bool {
    command.output().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == expected)
}
