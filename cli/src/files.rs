//! Files in and out: errors name the file, and an output is complete or absent.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// An output. That it can be written is tried before the work; nothing is left behind if the work ends otherwise.
pub(crate) enum Output {
    /// Written beside under another name, which becomes the right one when all is there.
    File(PathBuf),
    /// What exists and is no file, such as a pipe or a device: written to as it is.
    Special(PathBuf),
}

impl Output {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let refuse = || format!("can't write {}", path.display());
        // Behind a link, the file that it leads to is replaced, not the link.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        match fs::metadata(&real) {
            Ok(found) if found.is_dir() => Err(anyhow!("it is a folder")).with_context(refuse),
            Ok(found) if !found.is_file() => Ok(Self::Special(real)),
            _ => {
                beside(&real).with_context(refuse)?;
                Ok(Self::File(real))
            }
        }
    }

    /// Whether this is the file at `path`.
    pub(crate) fn is(&self, path: &Path) -> bool {
        matches!(self, Self::File(own) if fs::canonicalize(path).is_ok_and(|path| path == *own))
    }

    /// Fails if this is one of the files that are read.
    pub(crate) fn refuse<'a>(&self, inputs: impl Iterator<Item = &'a Path>) -> Result<()> {
        for input in inputs {
            ensure!(!self.is(input), "--output would overwrite {}, which is read", input.display());
        }
        Ok(())
    }

    pub(crate) fn finish(self, bytes: &[u8]) -> Result<()> {
        let (Self::File(path) | Self::Special(path)) = &self;
        let refuse = || format!("can't write {}", path.display());
        match &self {
            Self::File(path) => {
                let mut file = beside(path).with_context(refuse)?;
                file.write_all(bytes).with_context(refuse)?;
                file.as_file().sync_all().with_context(refuse)?;
                file.persist(path).map(drop).with_context(refuse)
            }
            Self::Special(path) => {
                let mut file = fs::OpenOptions::new().write(true).open(path).with_context(refuse)?;
                file.write_all(bytes).with_context(refuse)
            }
        }
    }
}

/// A new file in the folder of `path`, which is removed unless it is given its name.
fn beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gqa-");
    // What any new file gets, less the umask; the default would be for the owner alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}
