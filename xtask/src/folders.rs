//! Folders that are made whole or not at all.

use std::path::Path;
use std::{fs, io};

/// Fills a folder beside `folder` and puts it in its place: one that was cut short is never taken for a good one.
pub(crate) fn replace(folder: &Path, fill: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    let beside = folder.with_extension("new");
    remove(&beside).map_err(told)?;
    fs::create_dir_all(&beside).map_err(told)?;
    fill(&beside)?;
    remove(folder).map_err(told)?;
    fs::rename(&beside, folder).map_err(told)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a file into a folder, under its own name.
pub(crate) fn copy_into(folder: &Path, file: &Path) -> Result<(), String> {
    let name = file.file_name().unwrap_or_default();
    match fs::copy(file, folder.join(name)) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("can't copy {} to {}: {error}", file.display(), folder.display())),
    }
}

/// Copies what a folder holds into another, which is made if it is not there.
pub(crate) fn copy_all(from: &Path, to: &Path) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", from.display());
    fs::create_dir_all(to).map_err(told)?;
    for entry in fs::read_dir(from).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if path.is_dir() {
            copy_all(&path, &to.join(path.file_name().unwrap_or_default()))?;
        } else {
            copy_into(to, &path)?;
        }
    }
    Ok(())
}
