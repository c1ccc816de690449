//! Files in and out: errors name the file, and an output is complete or absent.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// A file beside `path` that takes its name when it is complete. Made before the work, so that an output that can't be
/// written is found out at once.
pub(crate) struct Output<'a> {
    path: &'a Path,
    beside: tempfile::NamedTempFile,
}

impl<'a> Output<'a> {
    pub(crate) fn create(path: &'a Path) -> Result<Self> {
        let refuse = || format!("can't write {}", path.display());
        if path.is_dir() {
            return Err(anyhow::anyhow!("it is a folder")).with_context(refuse);
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".gqa-");
        // What any new file gets, less the umask; the default would be for the owner alone.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let beside = builder.tempfile_in(folder).with_context(refuse)?;
        Ok(Self { path, beside })
    }

    pub(crate) fn finish(mut self, bytes: &[u8]) -> Result<()> {
        let refuse = || format!("can't write {}", self.path.display());
        self.beside.write_all(bytes).with_context(refuse)?;
        self.beside.as_file().sync_all().with_context(refuse)?;
        self.beside.persist(self.path).map(drop).with_context(refuse)
    }
}
