//! [`Config`] as Keras' JSON, in every form that Keras writes it.

use serde_json::{Map, Value, json};

use super::{
    initializer_json::{read_initializer, write_initializer},
    json::{brief, from_number, number},
    terms_json as terms,
};
use crate::error::clip;
use crate::{Config, Constraint, DTypePolicy, Error, Initializer, Regularizer, Result};

/// The operation in errors about the values of a configuration.
const READ: &str = "Config::from_keras_json";

/// A configuration read from Keras' JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedConfig {
    /// The configuration, validated.
    pub config: Config,
    /// What the JSON says that has no meaning here: keys that are not arguments of the layer, and as `key=class` the
    /// initializers, regularizers and constraints that are not Keras' own. They don't change what the layer computes.
    pub unknown_keys: Vec<String>,
}

/// Whether a serialized object is Keras' own grouped-query attention layer, under any of its names.
pub(super) fn is_attention(object: &Map<String, Value>) -> bool {
    let class = object.get("class_name").and_then(Value::as_str).unwrap_or_default();
    let class = class.rsplit('>').next().unwrap_or_default();
    matches!(class, "GroupQueryAttention" | "GroupedQueryAttention")
        && terms::is_keras_own(object)
        && object.get("config").is_some_and(Value::is_object)
}

/// Reads one layer: its serialized form (`{"class_name": "GroupQueryAttention", "config": {..}, ..}`) or what its
/// `get_config()` returns. `None` where `value` is neither.
pub(super) fn read_layer(value: &Value) -> Option<Result<ParsedConfig>> {
    let object = value.as_object()?;
    match object.get("config") {
        Some(Value::Object(config)) if is_attention(object) => Some(read_config(config)),
        _ if object.contains_key("num_query_heads") => Some(read_config(object)),
        _ => None,
    }
}

/// The arguments that are left to read, and what was found on the way.
struct Reader<'a> {
    config: &'a Map<String, Value>,
    known: Vec<&'static str>,
    unknown: Vec<String>,
}

impl<'a> Reader<'a> {
    /// The argument `key` read by `read`, or `default` where it is absent. `read` gives `None` for what it can't read.
    fn or<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        default: T,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T> {
        self.known.push(key);
        match self.config.get(key) {
            None => Ok(default),
            Some(value) => read(value).ok_or_else(|| Error::argument(READ, key, expected, brief(value))),
        }
    }

    fn size(&mut self, key: &'static str) -> Result<usize> {
        let missing = !self.config.contains_key(key);
        let size = self.or(key, "a positive integer", 0, |value| usize::try_from(value.as_u64()?).ok())?;
        if missing { Err(Error::argument(READ, key, "a positive integer", "nothing")) } else { Ok(size) }
    }

    fn flag(&mut self, key: &'static str, default: bool) -> Result<bool> {
        self.or(key, "true or false", default, Value::as_bool)
    }

    fn initializer(&mut self, key: &'static str, default: Initializer) -> Result<Initializer> {
        let found = self.or(key, "the name or the serialized form of an initializer", default, |value| {
            (value.is_string() || value.is_object()).then(|| read_initializer(value))
        })?;
        if let Initializer::Other { class_name, .. } = &found {
            self.unknown.push(format!("{key}={}", clip(class_name, 80)));
        }
        Ok(found)
    }

    fn regularizer(&mut self, key: &'static str) -> Result<Option<Regularizer>> {
        let found =
            self.or(key, "null, or the name or the serialized form of a regularizer", None, |value| {
                optional(value, terms::read_regularizer)
            })?;
        if let Some(Regularizer::Other { class_name, .. }) = &found {
            self.unknown.push(format!("{key}={}", clip(class_name, 80)));
        }
        Ok(found)
    }

    fn constraint(&mut self, key: &'static str) -> Result<Option<Constraint>> {
        let found =
            self.or(key, "null, or the name or the serialized form of a constraint", None, |value| {
                optional(value, terms::read_constraint)
            })?;
        if let Some(Constraint::Other { class_name, .. }) = &found {
            self.unknown.push(format!("{key}={}", clip(class_name, 80)));
        }
        Ok(found)
    }
}

/// Null, a name or an object.
fn optional<T>(value: &Value, read: impl FnOnce(&Value) -> T) -> Option<Option<T>> {
    match value {
        Value::Null => Some(None),
        Value::String(_) | Value::Object(_) => Some(Some(read(value))),
        _ => None,
    }
}

/// Reads what the layer's `get_config()` returns.
pub(super) fn read_config(config: &Map<String, Value>) -> Result<ParsedConfig> {
    let mut read = Reader { config, known: Vec::new(), unknown: Vec::new() };
    let defaults = Config::new(1, 1, 1);
    let policies = DTypePolicy::ALL.map(DTypePolicy::name).join(", ");
    let config = Config {
        name: read.or("name", "a string", defaults.name, |value| value.as_str().map(str::to_owned))?,
        head_dim: read.size("head_dim")?,
        num_query_heads: read.size("num_query_heads")?,
        num_key_value_heads: read.size("num_key_value_heads")?,
        dropout: read.or("dropout", "a number in [0, 1)", defaults.dropout, number)?,
        use_bias: read.flag("use_bias", defaults.use_bias)?,
        use_gate: read.flag("use_gate", defaults.use_gate)?,
        sliding_window: read.or(
            "sliding_window",
            "null or a positive integer",
            None,
            |value| match value {
                Value::Null => Some(None),
                value => Some(Some(usize::try_from(value.as_u64()?).ok()?)),
            },
        )?,
        flash_attention: read.or("flash_attention", "null, true or false", None, |value| match value {
            Value::Null => Some(None),
            value => Some(Some(value.as_bool()?)),
        })?,
        kernel_initializer: read.initializer("kernel_initializer", defaults.kernel_initializer)?,
        bias_initializer: read.initializer("bias_initializer", defaults.bias_initializer)?,
        kernel_regularizer: read.regularizer("kernel_regularizer")?,
        bias_regularizer: read.regularizer("bias_regularizer")?,
        activity_regularizer: read.regularizer("activity_regularizer")?,
        kernel_constraint: read.constraint("kernel_constraint")?,
        bias_constraint: read.constraint("bias_constraint")?,
        seed: read.or("seed", "null, a non-negative integer or a SeedGenerator", None, terms::read_seed)?,
        dtype: read.or(
            "dtype",
            &format!("one of {policies} (quantized and float64 layers can't be read)"),
            DTypePolicy::default(),
            terms::read_dtype,
        )?,
        trainable: read.flag("trainable", defaults.trainable)?,
    };
    config.validate()?;
    let mut unknown_keys = read.unknown;
    unknown_keys.extend(read.config.keys().filter(|key| !read.known.contains(&key.as_str())).cloned());
    Ok(ParsedConfig { config, unknown_keys })
}

/// Keras' serialized form of a layer.
pub(super) fn write_layer(config: &Config) -> Value {
    let regularizer = |r: &Option<Regularizer>| r.as_ref().map_or(Value::Null, terms::write_regularizer);
    let constraint = |c: &Option<Constraint>| c.as_ref().map_or(Value::Null, terms::write_constraint);
    let mut json = json!({
        "name": config.name,
        "trainable": config.trainable,
        "dtype": terms::write_dtype(config.dtype),
        "head_dim": config.head_dim,
        "num_query_heads": config.num_query_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "use_bias": config.use_bias,
        "dropout": from_number(config.dropout),
        "kernel_initializer": write_initializer(&config.kernel_initializer),
        "bias_initializer": write_initializer(&config.bias_initializer),
        "kernel_regularizer": regularizer(&config.kernel_regularizer),
        "bias_regularizer": regularizer(&config.bias_regularizer),
        "activity_regularizer": regularizer(&config.activity_regularizer),
        "kernel_constraint": constraint(&config.kernel_constraint),
        "bias_constraint": constraint(&config.bias_constraint),
    });
    let newer = [
        ("use_gate", config.use_gate.then_some(Value::Bool(true))),
        ("sliding_window", config.sliding_window.map(|window| json!(window))),
        ("flash_attention", config.flash_attention.map(|flash| json!(flash))),
        ("seed", config.seed.map(|seed| json!(seed))),
    ];
    for (key, value) in newer {
        if let Some(value) = value {
            json[key] = value;
        }
    }
    json!({
        "module": "keras.layers",
        "class_name": "GroupQueryAttention",
        "config": json,
        "registered_name": null,
    })
}
