//! `.keras` archives: a zip of `config.json`, `metadata.json` and `model.weights.h5`.

use std::io::{Cursor, Read, Write as _};

use zip::{CompressionMethod, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

use super::{ARCHIVE, Limits};
use crate::error::clip;
use crate::{Error, Result};

/// The member with the weights.
pub(super) const WEIGHTS: &str = "model.weights.h5";

/// The members of an archive that matter here.
pub(super) struct Archive {
    /// `config.json`.
    pub(super) config: Option<Vec<u8>>,
    /// `metadata.json`.
    pub(super) metadata: Option<Vec<u8>>,
    /// `model.weights.h5`.
    pub(super) weights: Vec<u8>,
    /// The archive without `model.weights.h5`, or why it can't be had.
    pub(super) rest: Result<Rest>,
}

/// An archive without its `model.weights.h5`, to which another can be added.
pub(super) struct Rest {
    zip: Vec<u8>,
    /// How the weights were stored.
    compression: CompressionMethod,
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
        match member(&mut zip, WEIGHTS, largest)? {
            Some(weights) => Ok(Self { config, metadata, weights, rest: Rest::of(&mut zip, bytes.len()) }),
            None => Err(Error::file(ARCHIVE, without_weights(&names))),
        }
    }
}

impl Rest {
    /// The other members of an archive of this many bytes, as they are: compressed ones are not unpacked.
    fn of(zip: &mut ZipArchive<Cursor<&[u8]>>, archive_bytes: usize) -> Result<Self> {
        let mut rest = ZipWriter::new(Cursor::new(Vec::new()));
        rest.set_raw_comment(zip.comment().into()).map_err(refuse)?;
        let (mut compression, mut left) = (CompressionMethod::Stored, archive_bytes as u64);
        for index in 0..zip.len() {
            let member = zip.by_index_raw(index).map_err(refuse)?;
            if member.name_raw() == WEIGHTS.as_bytes() {
                compression = member.compression();
                continue;
            }
            // Members that lie over each other would add up to more than there is.
            left = left
                .checked_sub(member.compressed_size())
                .ok_or_else(|| Error::file(ARCHIVE, "its members are larger than the file"))?;
            rest.raw_copy_file(member).map_err(refuse)?;
        }
        Ok(Self { zip: rest.finish().map_err(refuse)?.into_inner(), compression })
    }

    /// The archive with these weights.
    pub(super) fn with_weights(&self, weights: &[u8]) -> Result<Vec<u8>> {
        let mut zip = ZipWriter::new_append(Cursor::new(self.zip.clone())).map_err(unwritable)?;
        add(&mut zip, WEIGHTS, weights, self.compression)?;
        Ok(zip.finish().map_err(unwritable)?.into_inner())
    }
}

/// An archive of these members, stored without compression as Keras stores them, and with no date.
pub(super) fn pack(members: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents) in members {
        add(&mut zip, name, contents, CompressionMethod::Stored)?;
    }
    Ok(zip.finish().map_err(unwritable)?.into_inner())
}

fn add(
    zip: &mut ZipWriter<Cursor<Vec<u8>>>,
    name: &str,
    contents: &[u8],
    compression: CompressionMethod,
) -> Result<()> {
    // Past 4 GiB the sizes need wider fields, which have to be asked for. Some way before, in case deflating adds bytes.
    let large = contents.len() as u64 > u64::from(u32::MAX) / 8 * 7;
    let options = SimpleFileOptions::default().compression_method(compression).large_file(large);
    zip.start_file(name, options).map_err(unwritable)?;
    zip.write_all(contents).map_err(|error| unwritable(error.into()))
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
        let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| clip(name, 80)).collect();
        if names.len() > SHOWN {
            shown.push(format!("{} more", names.len() - SHOWN));
        }
        let shown = if shown.is_empty() { "nothing".into() } else { shown.join(", ") };
        format!("the zip file has no `{WEIGHTS}`, so it is not a Keras model; it has {shown}")
    }
}

fn unwritable(error: ZipError) -> Error {
    Error::file(ARCHIVE, format!("can't be written: {error}"))
}

fn refuse(error: ZipError) -> Error {
    Error::file(ARCHIVE, format!("not a readable zip file: {error}"))
}
