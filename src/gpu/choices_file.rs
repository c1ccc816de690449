//! `choices.json`: the forms measured on this machine's adapters, in the user's cache folder.
//!
//! The file is optional: if it can't be read or written, choices hold for the process, and [`Gpu::choices_problem`] gives
//! the reason.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use etcetera::base_strategy::choose_native_strategy;
use serde::{Deserialize, Serialize};

use super::sync::lock;
use super::{Class, Gpu};

/// The version of the format. Files of other versions are replaced.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    gqa_choices: u32,
    /// The version of the crate that measured: another may have other forms.
    gqa_version: String,
    /// By adapter, then by class: the name of the form.
    adapters: BTreeMap<String, BTreeMap<String, String>>,
}

impl File {
    fn new() -> Self {
        let gqa_version = env!("CARGO_PKG_VERSION").into();
        Self { gqa_choices: VERSION, gqa_version, adapters: BTreeMap::new() }
    }

    fn is_of_this_crate(&self) -> bool {
        self.gqa_choices == VERSION && self.gqa_version == env!("CARGO_PKG_VERSION")
    }
}

impl Gpu {
    /// The name of the form that an earlier process measured as fastest for this class.
    pub(crate) fn remembered(&self, class: &Class) -> Option<String> {
        let choices = &self.inner().choices;
        let mut remembered = lock(&choices.remembered);
        let known = remembered.get_or_insert_with(|| {
            let adapter = self.adapter_key();
            match path().map(|path| read(&path)) {
                Some(Ok(mut file)) => {
                    file.adapters.remove(&adapter).unwrap_or_default().into_iter().collect()
                }
                Some(Err(problem)) => {
                    *lock(&choices.problem) = Some(problem);
                    HashMap::new()
                }
                None => HashMap::new(),
            }
        });
        known.get(&class.to_string()).cloned()
    }

    /// Writes a choice to the file, for later processes.
    pub(crate) fn remember(&self, class: &Class, form: &str) {
        let Some(path) = path() else { return };
        // Another process may have written the file since it was read.
        let mut file = read(&path).unwrap_or_else(|_| File::new());
        file.adapters.entry(self.adapter_key()).or_default().insert(class.to_string(), form.into());
        if let Err(problem) = write(&path, &file) {
            *lock(&self.inner().choices.problem) = Some(problem);
        }
    }

    /// The key of an adapter and its driver.
    fn adapter_key(&self) -> String {
        let info = self.adapter_info();
        format!("{} | {} | {} {}", info.name, info.backend, info.driver, info.driver_info)
    }
}

/// `GQA_CACHE_DIR`, or else `gqa` in the user's cache folder.
fn path() -> Option<PathBuf> {
    let folder = match std::env::var_os("GQA_CACHE_DIR") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => choose_native_strategy().ok()?.cache_dir().join("gqa"),
    };
    Some(folder.join("choices.json"))
}

/// The contents of the file; empty if it is missing or of another version.
fn read(path: &Path) -> Result<File, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(File::new()),
        Err(error) => return Err(format!("can't read the choices in {}: {error}", path.display())),
    };
    // The version alone first: files of other versions may have other fields.
    let version = serde_json::from_str::<serde_json::Value>(&text)
        .map_err(|error| format!("{} is damaged and will be replaced: {error}", path.display()))?;
    if version.get("gqa_choices").and_then(serde_json::Value::as_u64) != Some(u64::from(VERSION)) {
        return Ok(File::new());
    }
    let file: File = serde_json::from_value(version)
        .map_err(|error| format!("{} is damaged and will be replaced: {error}", path.display()))?;
    Ok(if file.is_of_this_crate() { file } else { File::new() })
}

/// Writes atomically: a reader sees the old file or the new one.
fn write(path: &Path, file: &File) -> Result<(), String> {
    let told = |error: std::io::Error| format!("can't keep the choices in {}: {error}", path.display());
    let text = serde_json::to_string_pretty(file).map_err(|error| told(error.into()))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(told)?;
    }
    crate::files::write(path, text.as_bytes()).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_or_of_another_version_is_not() {
        let folder = std::env::temp_dir().join(format!("gqa-choices-{}", std::process::id()));
        let path = folder.join("deep/choices.json");
        assert!(read(&path).unwrap().adapters.is_empty());
        let mut file = File::new();
        file.adapters.entry("adapter".into()).or_default().insert("class".into(), "form".into());
        write(&path, &file).unwrap();
        assert_eq!(read(&path).unwrap().adapters["adapter"]["class"], "form");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside");
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in
            [("\"gqa_choices\": 2", "\"gqa_choices\": 1"), (env!("CARGO_PKG_VERSION"), "99.0.0")]
        {
            fs::write(&path, text.replace(from, to)).unwrap();
            assert!(read(&path).unwrap().adapters.is_empty(), "{to}");
        }
        for damaged in ["", "{", "[]x", r#"{"gqa_choices": 2}"#, &text[..text.len() / 2]] {
            fs::write(&path, damaged).unwrap();
            assert!(read(&path).err().unwrap().contains("damaged"), "{damaged}");
        }
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "a file where the folder should be").unwrap();
        assert!(write(&path, &file).unwrap_err().contains("can't keep the choices"));
        fs::remove_file(&folder).unwrap();
    }
}
