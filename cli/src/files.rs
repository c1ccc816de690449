//! Files in and out: errors name the file, and an output is complete or absent.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// An output. That it can be written is tried before the work; nothing is left behind if the work ends otherwise.
pub(crate) struct Output(PathBuf);

impl Output {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let refuse = || format!("can't write {}", path.display());
        // Behind a link, the file that it leads to is replaced, not the link.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        match fs::metadata(&real) {
            Ok(found) if found.is_dir() => bail!("{}: it is a folder", refuse()),
            Ok(found) if !found.is_file() => {}
            _ => {
                let folder = real.parent().filter(|folder| !folder.as_os_str().is_empty());
                tempfile::tempfile_in(folder.unwrap_or(Path::new("."))).with_context(refuse)?;
            }
        }
        Ok(Self(real))
    }

    /// Whether this is the file at `path`.
    pub(crate) fn is(&self, path: &Path) -> bool {
        self.0.is_file() && fs::canonicalize(path).is_ok_and(|path| path == self.0)
    }

    /// Fails if this is one of the files that are read.
    pub(crate) fn refuse<'a>(&self, inputs: impl Iterator<Item = &'a Path>) -> Result<()> {
        for input in inputs {
            ensure!(!self.is(input), "--output would overwrite {}, which is read", input.display());
        }
        Ok(())
    }

    pub(crate) fn finish(self, bytes: &[u8]) -> Result<()> {
        Ok(gqa::keras::write_file(&self.0, bytes)?)
    }
}
