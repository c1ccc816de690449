//! Telling the formats apart.

use super::{ARCHIVE, H5, JSON, SAFETENSORS};
use crate::{Error, Result};

/// What kind of file a [`ModelFile`](super::ModelFile) was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A `.keras` archive: a model's configuration and weights.
    Archive,
    /// A `.weights.h5` file: a model's weights.
    H5,
    /// A safetensors file: one layer's weights, perhaps with its configuration.
    Safetensors,
    /// The JSON of a model or a layer, without weights.
    Config,
}

impl FileKind {
    /// The name of the format in errors.
    pub(super) fn format(self) -> &'static str {
        match self {
            FileKind::Archive => ARCHIVE,
            FileKind::H5 => H5,
            FileKind::Safetensors => SAFETENSORS,
            FileKind::Config => JSON,
        }
    }
}

/// Which kind of file these bytes are.
pub(super) fn kind_of(bytes: &[u8]) -> Result<FileKind> {
    let text_starts = |bytes: &[u8]| bytes.trim_ascii_start().first() == Some(&b'{');
    let without_mark = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // The length of a header, of which no text that starts with `{` can be mistaken: it would be petabytes.
    let header = bytes.split_first_chunk().map(|(&length, rest)| (u64::from_le_bytes(length), rest));
    let is_safetensors = |(length, rest): (u64, &[u8])| length <= rest.len() as u64 && text_starts(rest);
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        Ok(FileKind::Archive)
    } else if hdf5_pure::is_hdf5_bytes(bytes) {
        Ok(FileKind::H5)
    } else if header.is_some_and(is_safetensors) {
        Ok(FileKind::Safetensors)
    } else if text_starts(without_mark) {
        Ok(FileKind::Config)
    } else if header.is_some_and(|(_, rest)| text_starts(rest)) {
        // Cut short or damaged; its reader says how.
        Ok(FileKind::Safetensors)
    } else {
        let start = bytes.get(..bytes.len().min(8)).unwrap_or_default();
        let what = match start {
            [] => "it is empty".into(),
            start if start.starts_with(b"\x89PNG") => "it is a PNG image".into(),
            start => format!("it starts with `{}`", start.escape_ascii()),
        };
        Err(Error::file(
            "model file",
            format!("neither a .keras archive, HDF5, safetensors nor JSON: {what}"),
        ))
    }
}
