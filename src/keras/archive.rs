//! `.keras` archives: a zip of `config.json`, `metadata.json` and `model.weights.h5`.

use std::io::{Cursor, Read};

use zip::{ZipArchive, result::ZipError};

use super::{ARCHIVE, Limits};
use crate::{Error, Result};

/// The members of an archive that matter here.
pub(super) struct Archive {
    /// `config.json`.
    pub(super) config: Option<Vec<u8>>,
    /// `metadata.json`.
    pub(super) metadata: Option<Vec<u8>>,
    /// `model.weights.h5`.
    pub(super) weights: Vec<u8>,
}

impl Archive {
    /// Unpacks an archive. No member may be larger than `limits` allow, whatever sizes the archive declares.
    pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(refuse)?;
        if zip.has_duplicate_names() {
            return Err(Error::file(ARCHIVE, "two members have the same name"));
        }
        let names: Vec<String> =
            zip.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let json_bytes = limits.json_bytes as u64;
        let config = member(&mut zip, "config.json", json_bytes)?;
        let metadata = member(&mut zip, "metadata.json", json_bytes)?;
        let largest = limits.expanded(bytes.len());
        match member(&mut zip, "model.weights.h5", largest)? {
            Some(weights) => Ok(Self { config, metadata, weights }),
            None => Err(Error::file(ARCHIVE, without_weights(&names))),
        }
    }
}

/// The contents of a member of at most `largest` bytes; `None` where there is none of that name.
fn member(zip: &mut ZipArchive<Cursor<&[u8]>>, name: &str, largest: u64) -> Result<Option<Vec<u8>>> {
    let mut file = match zip.by_name(name) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(refuse(error)),
    };
    let declared = file.size();
    let too_large = |size: String| {
        Error::file(ARCHIVE, format!("`{name}` unpacks to {size} bytes, more than the limit of {largest}"))
    };
    if declared > largest {
        return Err(too_large(declared.to_string()));
    }
    // The declared size is not to be trusted: neither for the limit nor for an allocation.
    let mut contents = Vec::new();
    file.by_ref()
        .take(largest.saturating_add(1))
        .read_to_end(&mut contents)
        .map_err(|error| Error::file(ARCHIVE, format!("`{name}` can't be unpacked: {error}")))?;
    if contents.len() as u64 > largest {
        return Err(too_large(format!("more than {declared}")));
    }
    Ok(Some(contents))
}

/// Why an archive without `model.weights.h5` can't be used.
fn without_weights(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has("model.weights.json") {
        "its weights are split into shards, which is not supported; save the model without `max_shard_size`"
            .into()
    } else if has("model.weights.npz") {
        "its weights are in npz form, which is not supported; save the model with Keras' default `h5` form"
            .into()
    } else {
        let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| super::json::clip(name, 80)).collect();
        if names.len() > SHOWN {
            shown.push(format!("{} more", names.len() - SHOWN));
        }
        let shown = if shown.is_empty() { "nothing".into() } else { shown.join(", ") };
        format!("the zip file has no `model.weights.h5`, so it is not a Keras model; it has {shown}")
    }
}

fn refuse(error: ZipError) -> Error {
    Error::file(ARCHIVE, format!("not a readable zip file: {error}"))
}
