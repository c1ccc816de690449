//! Writing files so that they are complete or absent. Not for browsers, which have none.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

#[cfg(feature = "keras")]
use crate::{Error, Result};

/// Writes a file so that whoever opens it finds the old contents or all of the new ones, never a part: under another name
/// beside it, to the disk, and then renamed.
///
/// A link stays, and the file that it leads to is replaced. What exists and is no file, such as a pipe or a device, is
/// written to as it is. A crash while writing can leave the old file and beside it one called `.gqa-` and some letters,
/// which nothing reads and which may be deleted.
#[cfg(feature = "keras")]
pub fn write_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    write(path, bytes)
        .map_err(|error| Error::file("write_file", format!("can't write {}: {error}", path.display())))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    match fs::metadata(&real) {
        Ok(found) if found.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")),
        Ok(found) if !found.is_file() => fs::OpenOptions::new().write(true).open(&real)?.write_all(bytes),
        found => {
            let folder = real.parent().filter(|folder| !folder.as_os_str().is_empty());
            let mut builder = tempfile::Builder::new();
            builder.prefix(".gqa-");
            // What any new file gets, less the umask; the default would be for the owner alone.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            // Removed unless it is given its name.
            let mut beside = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
            beside.write_all(bytes)?;
            if let Ok(found) = found {
                beside.as_file().set_permissions(found.permissions())?;
            }
            beside.as_file().sync_all()?;
            beside.persist(&real)?;
            Ok(())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        write_file(&path, b"first").unwrap();
        write_file(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        #[cfg(unix)]
        {
            use std::os::unix::fs::{PermissionsExt, symlink};
            fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
            let link = folder.path().join("link");
            symlink(&path, &link).unwrap();
            write_file(&link, b"third").unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
            fs::remove_file(&link).unwrap();
        }
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["weights"]);
        for refused in [folder.path().join("none/weights"), folder.path().to_path_buf()] {
            let error = write_file(&refused, b"").unwrap_err().to_string();
            assert!(
                error.contains("can't write") && error.contains(&refused.display().to_string()),
                "{error}"
            );
        }
    }
}
