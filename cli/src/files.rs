//! Files in and out: errors name the file, and an output is complete or absent.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// An output, made before the work, so that one that can't be written is found out at once.
pub(crate) enum Output {
    /// A file beside the one wanted, which takes its name when it is complete.
    File { path: PathBuf, beside: tempfile::NamedTempFile },
    /// What exists and is no file, such as a pipe or a device: written to as it is.
    Special { path: PathBuf, open: fs::File },
}

impl Output {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let refuse = || format!("can't write {}", path.display());
        // Behind a link, the file that it leads to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(anyhow!("it is a folder")).with_context(refuse),
            Ok(found) if !found.is_file() => {
                let open = fs::OpenOptions::new().write(true).open(&path).with_context(refuse)?;
                return Ok(Self::Special { path, open });
            }
            _ => {}
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
        Ok(Self::File { path, beside })
    }

    pub(crate) fn finish(self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File { path, mut beside } => {
                let refuse = || format!("can't write {}", path.display());
                beside.write_all(bytes).with_context(refuse)?;
                beside.as_file().sync_all().with_context(refuse)?;
                beside.persist(&path).map(drop).with_context(refuse)
            }
            Self::Special { path, mut open } => {
                open.write_all(bytes).with_context(|| format!("can't write {}", path.display()))
            }
        }
    }
}
