//! The weights of one layer as a safetensors file: `query/kernel`, `query/bias` and so on, perhaps with its configuration.

use std::collections::HashMap;

use crate::safetensors::{Header, write};
use crate::{Config, DType, Result, Weights};

/// The key of the file's metadata under which [`weights_to_safetensors`] puts the layer's configuration.
const CONFIG: &str = "keras_config";

/// A safetensors file with the weights of one layer under the names `query/kernel`, `query/bias` and so on, each element
/// rounded to `dtype`. With `config` the file also says what layer they belong to, and
/// [`ModelFile::from_bytes`](super::ModelFile::from_bytes) needs nothing else.
pub fn weights_to_safetensors(weights: &Weights, config: Option<&Config>, dtype: DType) -> Result<Vec<u8>> {
    let metadata =
        config.map(|config| HashMap::from([(CONFIG.to_owned(), config.to_keras_json().to_string())]));
    write(weights.named().into_iter(), dtype, metadata)
}

/// The configuration that a file carries.
pub(super) fn config_json(header: &Header) -> Option<&String> {
    header.metadata.get(CONFIG)
}
