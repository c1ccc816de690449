//! Where a layer comes from: `--model`, `--layer` and `--weights`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use gqa::keras::{FileKind, ModelFile};
use gqa::{Config, Weights};

use crate::files;

#[derive(clap::Args)]
pub(crate) struct Source {
    /// A `.keras` archive, or a configuration JSON together with --weights
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The attention layer, if the model has several
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// The layer's weights, as .weights.h5 or .safetensors
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

/// A layer of a file.
pub(crate) struct Loaded {
    pub(crate) file: ModelFile,
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) weights: Weights,
}

impl Source {
    /// The files that are read.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        [Some(self.model.as_path()), self.weights.as_deref()].into_iter().flatten()
    }

    /// The layer that the arguments name.
    pub(crate) fn load(&self) -> Result<Loaded> {
        let named = |path: &Path| path.display().to_string();
        let opened = ModelFile::from_bytes(files::read(&self.model)?).with_context(|| named(&self.model))?;
        let Some(weights_path) = &self.weights else {
            if opened.kind() == FileKind::Config {
                bail!("{}: a configuration has no weights, give them with --weights", named(&self.model));
            }
            let layer = opened.layer(self.layer.as_deref()).with_context(|| named(&self.model))?;
            let config = layer.config().with_context(|| named(&self.model))?.clone();
            warn_unknown(layer.unknown_keys());
            let weights = opened.weights(layer).with_context(|| named(&self.model))?;
            let name = layer.name().into();
            return Ok(Loaded { name, config, weights, file: opened });
        };
        // With weights from elsewhere, the model gives the configuration alone.
        if !matches!(opened.kind(), FileKind::Config | FileKind::Archive) {
            bail!("{}: --model takes a .keras archive or a configuration JSON", named(&self.model));
        }
        let both = || format!("{} with {}", named(weights_path), named(&self.model));
        let file = opened.with_weights(files::read(weights_path)?).with_context(both)?;
        let layer = file.layer(self.layer.as_deref()).with_context(both)?;
        warn_unknown(layer.unknown_keys());
        let weights = file.weights(layer).with_context(both)?;
        let (name, config) = (layer.name().into(), layer.config().with_context(both)?.clone());
        Ok(Loaded { name, config, weights, file })
    }
}

fn warn_unknown(keys: &[String]) {
    if !keys.is_empty() {
        eprintln!("gqa: unknown configuration keys are ignored: {}", keys.join(", "));
    }
}

pub(crate) fn describe(config: &Config) -> String {
    let Config { num_query_heads: h, num_key_value_heads: hkv, head_dim: d, dtype, .. } = config;
    let mut text = format!("{h} query heads over {hkv} key/value heads of width {d}, {dtype}");
    if config.use_gate {
        text += ", gated";
    }
    if let Some(window) = config.sliding_window {
        text += &format!(", window {window}");
    }
    text
}
