//! Where trained weights go: safetensors, `.weights.h5` or `.keras`, by the name of the file.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use gqa::keras::{FileKind, SavedCall, model_to_keras, weights_to_h5, write_tensors};
use gqa::{Array, DType, Weights};

use crate::source::Loaded;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `weights/query/kernel` and so on, and `loss`
    Safetensors,
    /// Keras weights
    H5,
    /// A Keras model
    Archive,
}

impl Format {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let known =
            [(".safetensors", Self::Safetensors), (".weights.h5", Self::H5), (".keras", Self::Archive)];
        match known.into_iter().find(|(ending, _)| name.ends_with(ending)) {
            Some((_, format)) => Ok(format),
            None => {
                bail!("--output must end with .safetensors, .weights.h5 or .keras, but is {}", path.display())
            }
        }
    }

    /// The bytes of a file with these weights, and in safetensors the losses. A file of the kind that the layer came from
    /// keeps everything else; another one is of this layer alone, called as `call` says.
    pub(crate) fn bytes(
        self,
        loaded: &Loaded,
        weights: &Weights,
        losses: &[f32],
        call: SavedCall,
    ) -> Result<Vec<u8>> {
        let Loaded { file, name, config, .. } = loaded;
        let kind = file.kind();
        if (self, kind) == (Self::H5, FileKind::H5) || (self, kind) == (Self::Archive, FileKind::Archive) {
            return Ok(file.replace_weights(file.layer(Some(name))?, weights)?);
        }
        Ok(match self {
            Self::Safetensors => {
                let mut tensors: Vec<_> = weights
                    .named()
                    .into_iter()
                    .map(|(name, array)| (format!("weights/{name}"), array.clone()))
                    .collect();
                if !losses.is_empty() {
                    tensors.push(("loss".into(), Array::new([losses.len()], losses)?));
                }
                write_tensors(tensors.iter().map(|(name, array)| (name.as_str(), array)), DType::F32)?
            }
            Self::H5 => weights_to_h5(config, weights)?,
            Self::Archive => {
                model_to_keras(config, weights, call).context("a .keras file can't be written")?
            }
        })
    }
}
