//! Keras itself loads the files that the library writes: `cargo xtask keras`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{Step, quietly, say};
use crate::{cargo, debian, root, target_dir};

const REQUIREMENTS: &str = "tests/keras/requirements.txt";

/// The step that writes the files.
const FILES: &str = "files for Keras";

/// Writes the files.
pub(crate) fn write_step() -> Step {
    Step::making(FILES, || {
        let folder = folder();
        // Nothing of an earlier run may stand in for what is not written.
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .map_err(|error| format!("can't empty {}: {error}", folder.display()))?;
        }
        let mut write = cargo(["test", "--workspace", "--test", "loads_back"]);
        write.env("GQA_LOADS_BACK", folder);
        Ok(write)
    })
    .within(30)
}

/// Installs Keras below the target folder, if it is not there, and has it load the files.
pub(crate) fn load_steps() -> [Step; 2] {
    let load = || {
        let mut load = Command::new(python()?);
        load.current_dir(root()).arg("tests/keras/loads_back.py").arg(folder());
        Ok(load)
    };
    [
        Step::doing("Keras", || python().map(drop)).within(90),
        Step::making("Keras loads what is written", load).after(FILES).after_success().within(60),
    ]
}

/// `cargo xtask keras`: everything, in order.
pub(crate) fn steps() -> Vec<Step> {
    [write_step()].into_iter().chain(load_steps()).collect()
}

fn folder() -> PathBuf {
    target_dir().join("loads-back")
}

/// The Python of an environment with Keras in it.
fn python() -> Result<PathBuf, String> {
    let folder = target_dir().join("keras");
    let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    let python = folder.join(program);
    let wanted = fs::read_to_string(root().join(REQUIREMENTS))
        .map_err(|error| format!("can't read {REQUIREMENTS}: {error}"))?;
    // Written last, so that an installation that was cut short is done again.
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let system = match system_python() {
        Some(system) => system,
        None => {
            debian::install(&["python3", "python3-venv"], false)
                .map_err(|error| format!("Python 3 with its module venv: {error}"))?;
            system_python().ok_or("Python 3 with its module venv can't be used, though it is installed")?
        }
    };
    say(format!("    installing {} with pip into {}", wanted.replace('\n', " ").trim(), folder.display()));
    debian::run(Command::new(system).args(["-m", "venv", "--clear"]).arg(&folder))?;
    debian::run(
        Command::new(&python)
            .current_dir(root())
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(Path::new(REQUIREMENTS)),
    )?;
    fs::write(&installed, wanted).map_err(|error| format!("can't write {}: {error}", installed.display()))?;
    Ok(python)
}

/// A Python 3 of the machine that can make environments.
fn system_python() -> Option<&'static str> {
    let usable = |name: &&str| {
        quietly(
            Command::new(name)
                .args(["-c", "import ensurepip, venv, sys; assert sys.version_info >= (3, 11)"]),
        )
    };
    ["python3", "python"].into_iter().find(usable)
}
