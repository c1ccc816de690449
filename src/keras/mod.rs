//! Files of Keras, read and written: model archives (`.keras`), weights (`.weights.h5`) and configurations (JSON); and
//! the same weights as safetensors.
//!
//! Everything works on bytes, so that it runs in a browser, and on files that nobody vouches for: a damaged or hostile
//! one gives an [`Error`](crate::Error), and no more memory is used than [`Limits`] allow.
//!
//! ```no_run
//! let model = gqa::keras::ModelFile::from_bytes(std::fs::read("model.keras")?)?;
//! let layer = model.layer(Some("attn"))?;
//! let (config, weights) = (layer.config()?, model.weights(layer)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Saving
//!
//! | what there is | what is wanted | |
//! |---|---|---|
//! | a model that Keras saved | the same with one layer's weights changed | [`ModelFile::replace_weights`] |
//! | a layer | a model for `keras.models.load_model` | [`model_to_keras`] |
//! | a layer | weights for `model.load_weights` | [`weights_to_h5`], [`weights_to_h5_at`] |
//! | a layer | weights for anything else | [`weights_to_safetensors`] |
//! | a configuration | the layer in Python | [`Config::to_keras_json`](crate::Config::to_keras_json) |
//!
//! Keras 3.15 loads all of them, and Keras 3.6 those of layers without the arguments that came later (`use_gate`,
//! `sliding_window`, `seed`). The same values give the same bytes.
//!
//! ```no_run
//! use gqa::keras::{ModelFile, write_file};
//!
//! let model = ModelFile::from_bytes(std::fs::read("model.keras")?)?;
//! let layer = model.layer(Some("attn"))?;
//! let mut weights = model.weights(layer)?;
//! weights.query.kernel.data_mut()[0] = 0.5;
//! write_file("model.keras", &model.replace_weights(layer, &weights)?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod archive;
mod config;
mod config_json;
mod file_kind;
mod h5;
mod h5_write;
mod initializer_json;
mod json;
mod layer_entry;
mod layer_tree;
mod model_file;
mod model_write;
mod safetensors;
mod terms_json;

pub use config_json::ParsedConfig;
pub use file_kind::FileKind;
pub use h5_write::{weights_to_h5, weights_to_h5_at};
pub use layer_entry::LayerEntry;
pub use model_file::ModelFile;
pub use model_write::{SavedCall, model_to_keras};
pub use safetensors::weights_to_safetensors;

use crate::DType;
#[cfg(not(target_arch = "wasm32"))]
pub use crate::files::write_file;
pub use crate::named_tensor::{NamedTensor, TensorData};
use crate::safetensors::{HEADER_BYTES, SAFETENSORS};
pub use crate::safetensors::{TensorInfo, read_tensors, write_tensors};

/// The formats in error messages.
const ARCHIVE: &str = "Keras archive";
const H5: &str = "Keras weights (HDF5)";
const JSON: &str = "Keras configuration (JSON)";

/// How large the contents of a file may be, so that a small one can't ask for all memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest JSON text (`config.json`, the header of a safetensors file), in bytes.
    pub json_bytes: usize,
    /// How many times its own size a file may unpack to: by compression, or by arrays that it declares and doesn't
    /// store.
    pub expansion: usize,
    /// What a file may unpack to however small it is, in bytes.
    pub always_allowed: usize,
}

impl Default for Limits {
    /// 16 MiB of JSON; weights of 20 times the file's size, or 64 MiB.
    fn default() -> Self {
        Self { json_bytes: HEADER_BYTES, expansion: 20, always_allowed: 64 << 20 }
    }
}

impl Limits {
    /// The largest array or archive member that a file of this size may have.
    fn expanded(&self, file_bytes: usize) -> u64 {
        file_bytes.saturating_mul(self.expansion).max(self.always_allowed) as u64
    }
}

fn keras_dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::Bf16 => "bfloat16",
        DType::Bool => "bool",
    }
}
