//! [`Config`] from and to Keras' JSON.

use serde_json::Value;

use super::config_json::{ParsedConfig, read_layer, write_layer};
use super::json::parse;
use super::layer_tree::only_layer;
use super::{JSON, Limits};
use crate::{Config, Result};

impl Config {
    /// Reads Keras' JSON: the serialized layer, its bare `get_config()`, or a whole model's `config.json` with exactly
    /// one grouped-query attention layer. Choose among several with [`keras::ModelFile`](crate::keras::ModelFile).
    ///
    /// Initializers, regularizers and constraints that are not Keras' own are kept as they are and reported; the layer
    /// they belong to can run. Fails, naming the argument, where a value doesn't make a layer.
    ///
    /// ```
    /// let json = r#"{"module": "keras.layers", "class_name": "GroupQueryAttention", "registered_name": null,
    ///                "config": {"name": "attn", "head_dim": 64, "num_query_heads": 8, "num_key_value_heads": 2,
    ///                           "dtype": "mixed_float16", "kernel_regularizer": "l2", "colour": "blue"}}"#;
    /// let parsed = gqa::Config::from_keras_json(json)?;
    /// assert_eq!(parsed.config.dtype, gqa::DTypePolicy::MixedFloat16);
    /// assert_eq!(parsed.unknown_keys, ["colour"]);
    /// # Ok::<(), gqa::Error>(())
    /// ```
    pub fn from_keras_json(json: &str) -> Result<ParsedConfig> {
        let value = parse(JSON, json, Limits::default().json_bytes)?;
        Self::from_keras_value(&value)
    }

    /// [`from_keras_json`](Self::from_keras_json) for JSON that is already parsed.
    pub fn from_keras_value(json: &Value) -> Result<ParsedConfig> {
        match read_layer(json) {
            Some(parsed) => parsed,
            None => only_layer(json),
        }
    }

    /// Keras' serialized form, which `keras.saving.deserialize_keras_object` turns into the layer.
    ///
    /// Options that Keras 3.6 doesn't know are left out where they have their default value, so that it reads every
    /// layer that it can represent. [`from_keras_value`](Self::from_keras_value) is the inverse.
    pub fn to_keras_json(&self) -> Value {
        write_layer(self)
    }
}
