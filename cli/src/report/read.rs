//! Files of results: bytes in, sound results out.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use gqa::bench::{BenchResults, FORMAT_VERSION};
use serde_json::Value;

use super::check;
use crate::files;

/// A file of results as it was given and read.
pub(crate) struct ResultFile {
    pub(crate) path: PathBuf,
    pub(crate) results: BenchResults,
}

/// Reads every file. Errors name the file; the same file or the same results twice are one.
pub(crate) fn all(paths: &[PathBuf]) -> Result<Vec<ResultFile>> {
    for (i, path) in paths.iter().enumerate() {
        let real = std::fs::canonicalize(path).ok();
        let same = |other: &&PathBuf| {
            *other == path || (real.is_some() && std::fs::canonicalize(other).ok() == real)
        };
        if let Some(other) = paths[..i].iter().find(same) {
            bail!("{} and {} are the same file", other.display(), path.display());
        }
    }
    let mut read: Vec<ResultFile> = Vec::new();
    for path in paths {
        let results = parse(&files::read(path)?).with_context(|| path.display().to_string())?;
        if let Some(other) = read.iter().find(|other| other.results == results) {
            bail!("{} and {} hold the same results", other.path.display(), path.display());
        }
        read.push(ResultFile { path: path.clone(), results });
    }
    Ok(read)
}

/// The results in a file's bytes, with sound figures and harmless texts.
fn parse(bytes: &[u8]) -> Result<BenchResults> {
    let value: Value = serde_json::from_slice(bytes).context("not JSON")?;
    // Another version may have other fields, so it comes first.
    match value.get("gqa_bench") {
        None => bail!("no results of `gqa bench`: this JSON has no `gqa_bench`"),
        Some(version) => match version.as_u64() {
            None => bail!("no results of `gqa bench`: its `gqa_bench` is no version number"),
            Some(version) => ensure!(
                version == u64::from(FORMAT_VERSION),
                "the results have format version {version}, and this gqa reads version {FORMAT_VERSION}"
            ),
        },
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut results: BenchResults =
        serde_path_to_error::deserialize(&mut deserializer).context("no whole results of `gqa bench`")?;
    clean(&mut results);
    check::results(&results)?;
    Ok(results)
}

/// Makes every text one that can be shown: nothing in it moves a cursor or turns the direction of what follows.
fn clean(results: &mut BenchResults) {
    let adapter = &mut results.adapter;
    let texts = [
        &mut results.gqa_version,
        &mut results.suite,
        &mut adapter.name,
        &mut adapter.backend,
        &mut adapter.driver,
        &mut adapter.driver_info,
        &mut adapter.device_type,
    ];
    let rows = results.rows.iter_mut();
    let rows =
        rows.flat_map(|row| [&mut row.id, &mut row.group, &mut row.title, &mut row.dtype, &mut row.variant]);
    let skipped = results.skipped.iter_mut().flat_map(|(id, reason)| [id, reason]);
    for text in texts.into_iter().chain(&mut adapter.features).chain(rows).chain(skipped) {
        *text = harmless(text);
    }
}

fn harmless(text: &str) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if c.is_control() || turns(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_what_moves_the_cursor_or_turns_the_direction() {
        assert_eq!(harmless(" RTX\u{1b}[2J\u{0}\u{202e}4090 é→ "), "RTX\\u{1b}[2J\\u{0}\\u{202e}4090 é→");
    }
}
