//! Keras' JSON form of the objects that a configuration holds: regularizers, constraints, dtype policies and seeds.
//!
//! Keras writes an object as its name (`"glorot_uniform"`, `"GlorotUniform"`) or as
//! `{"module": .., "class_name": .., "config": {arguments}, "registered_name": ..}`. What is not one of Keras' own, or
//! has arguments that the types here can't hold, is kept as it came: reading a model must not fail for it.

use serde_json::{Map, Value, json};

use super::json::{from_number, number};
use crate::{Constraint, DTypePolicy, OrthogonalMode, Regularizer};

/// A serialized object of Keras itself: its class and its arguments.
pub(super) struct Object<'a> {
    /// The class name without underscores and in lower case, which is the same for `GlorotUniform` and
    /// `glorot_uniform`.
    pub(super) class: String,
    config: Option<&'a Map<String, Value>>,
    /// The arguments asked for so far.
    known: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// `None` where `value` is not an object of Keras, but of a package or script that registered its own.
    pub(super) fn read(value: &'a Value) -> Option<Self> {
        let (class, config) = match value {
            Value::String(class) => (class.as_str(), None),
            Value::Object(map) if is_keras_own(map) => {
                let config = match map.get("config") {
                    None | Some(Value::Null) => None,
                    Some(Value::Object(config)) => Some(config),
                    Some(_) => return None,
                };
                (map.get("class_name")?.as_str()?, config)
            }
            _ => return None,
        };
        let class = class.chars().filter(|&c| c != '_').flat_map(char::to_lowercase).collect();
        Some(Self { class, config, known: Vec::new() })
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.config?.get(key)
    }

    /// The number `key`, or `default` where it is not given; `None` where it is something else.
    pub(super) fn number(&mut self, key: &'static str, default: f64) -> Option<f64> {
        self.get(key).map_or(Some(default), number)
    }

    /// The integers `key`, given as one or as a list.
    pub(super) fn axes(&mut self, key: &'static str, default: i64) -> Option<Vec<i64>> {
        match self.get(key) {
            None => Some(vec![default]),
            Some(Value::Array(axes)) => axes.iter().map(Value::as_i64).collect(),
            Some(axis) => Some(vec![axis.as_i64()?]),
        }
    }

    /// `object`, if no argument was given that nothing asked for.
    pub(super) fn complete<T>(&self, object: T) -> Option<T> {
        let given = self.config.into_iter().flatten();
        let mut rest = given.filter(|(key, value)| !value.is_null() && !self.known.contains(&key.as_str()));
        rest.next().is_none().then_some(object)
    }
}

/// Whether a serialized object is Keras' own, going by what its serializer writes: `registered_name` null and a `module`
/// under `keras`. Both are absent in short forms written by hand.
pub(super) fn is_keras_own(map: &Map<String, Value>) -> bool {
    let module = match map.get("module") {
        None => true,
        Some(Value::String(module)) => module == "keras" || module.starts_with("keras."),
        Some(_) => false,
    };
    let registered = match map.get("registered_name") {
        None | Some(Value::Null) => true,
        Some(name) => match name.as_str() {
            Some(name) => {
                name.starts_with("keras>") || map.get("class_name").and_then(Value::as_str) == Some(name)
            }
            None => false,
        },
    };
    module && registered
}

/// What to call a serialized object that is not Keras' own.
pub(super) fn class_name(value: &Value) -> String {
    let string = |key| value.get(key).and_then(Value::as_str).filter(|name| *name != "function");
    let function = || value.get("config").and_then(Value::as_str);
    let name = value
        .as_str()
        .or_else(|| string("registered_name"))
        .or_else(|| string("class_name"))
        .or_else(function);
    name.unwrap_or("function").to_owned()
}

pub(super) fn object(module: &str, class: &str, config: Value) -> Value {
    json!({"module": module, "class_name": class, "config": config, "registered_name": null})
}

/// The regularizer; anything that is not Keras' own as [`Regularizer::Other`].
pub(super) fn read_regularizer(value: &Value) -> Regularizer {
    let own = || {
        let mut object = Object::read(value)?;
        let regularizer = match object.class.as_str() {
            "l1" => Regularizer::L1 { l1: object.number("l1", 0.01)? },
            "l2" => Regularizer::L2 { l2: object.number("l2", 0.01)? },
            "l1l2" => Regularizer::L1L2 { l1: object.number("l1", 0.0)?, l2: object.number("l2", 0.0)? },
            "orthogonalregularizer" => Regularizer::Orthogonal {
                factor: object.number("factor", 0.01)?,
                mode: match object.get("mode").map_or(Some("rows"), Value::as_str)? {
                    "rows" => OrthogonalMode::Rows,
                    "columns" => OrthogonalMode::Columns,
                    _ => return None,
                },
            },
            _ => return None,
        };
        object.complete(regularizer)
    };
    own().unwrap_or_else(|| Regularizer::Other { class_name: class_name(value), json: value.clone() })
}

pub(super) fn write_regularizer(regularizer: &Regularizer) -> Value {
    let (class, config) = match regularizer {
        Regularizer::L1 { l1 } => ("L1", json!({"l1": from_number(*l1)})),
        Regularizer::L2 { l2 } => ("L2", json!({"l2": from_number(*l2)})),
        Regularizer::L1L2 { l1, l2 } => ("L1L2", json!({"l1": from_number(*l1), "l2": from_number(*l2)})),
        Regularizer::Orthogonal { factor, mode } => {
            let mode = match mode {
                OrthogonalMode::Rows => "rows",
                OrthogonalMode::Columns => "columns",
            };
            ("OrthogonalRegularizer", json!({"factor": from_number(*factor), "mode": mode}))
        }
        Regularizer::Other { json, .. } => return json.clone(),
    };
    object("keras.regularizers", class, config)
}

/// The constraint; anything that is not Keras' own as [`Constraint::Other`].
pub(super) fn read_constraint(value: &Value) -> Constraint {
    let own = || {
        let mut object = Object::read(value)?;
        let constraint = match object.class.as_str() {
            "maxnorm" => Constraint::MaxNorm {
                max_value: object.number("max_value", 2.0)?,
                axis: object.axes("axis", 0)?,
            },
            "minmaxnorm" => Constraint::MinMaxNorm {
                min_value: object.number("min_value", 0.0)?,
                max_value: object.number("max_value", 1.0)?,
                rate: object.number("rate", 1.0)?,
                axis: object.axes("axis", 0)?,
            },
            "nonneg" => Constraint::NonNeg,
            "unitnorm" => Constraint::UnitNorm { axis: object.axes("axis", 0)? },
            _ => return None,
        };
        object.complete(constraint)
    };
    own().unwrap_or_else(|| Constraint::Other { class_name: class_name(value), json: value.clone() })
}

pub(super) fn write_constraint(constraint: &Constraint) -> Value {
    let axes = |axis: &[i64]| match axis {
        [one] => json!(one),
        several => json!(several),
    };
    let (class, config) = match constraint {
        Constraint::MaxNorm { max_value, axis } => {
            ("MaxNorm", json!({"max_value": from_number(*max_value), "axis": axes(axis)}))
        }
        Constraint::MinMaxNorm { min_value, max_value, rate, axis } => {
            let (min_value, max_value, rate) =
                (from_number(*min_value), from_number(*max_value), from_number(*rate));
            (
                "MinMaxNorm",
                json!({"min_value": min_value, "max_value": max_value, "rate": rate, "axis": axes(axis)}),
            )
        }
        Constraint::NonNeg => ("NonNeg", json!({})),
        Constraint::UnitNorm { axis } => ("UnitNorm", json!({"axis": axes(axis)})),
        Constraint::Other { json, .. } => return json.clone(),
    };
    object("keras.constraints", class, config)
}

/// The policy, given by its name or as an object; `None` where it is not one of those that the library has.
pub(super) fn read_dtype(value: &Value) -> Option<DTypePolicy> {
    match value {
        Value::Null => Some(DTypePolicy::default()),
        Value::String(name) => DTypePolicy::from_name(name),
        value => {
            let mut object = Object::read(value)?;
            match object.class.as_str() {
                "dtypepolicy" | "floatdtypepolicy" => DTypePolicy::from_name(object.get("name")?.as_str()?),
                // Policies for layers within the layer, of which there must be none.
                "dtypepolicymap" => match object.get("policy_map").and_then(Value::as_object) {
                    Some(map) if !map.is_empty() => None,
                    _ => read_dtype(object.get("default_policy")?),
                },
                _ => None,
            }
        }
    }
}

pub(super) fn write_dtype(policy: DTypePolicy) -> Value {
    object("keras", "DTypePolicy", json!({"name": policy.name()}))
}

/// A seed, which is null, an integer or a `SeedGenerator`; `None` where it is something else.
pub(super) fn read_seed(value: &Value) -> Option<Option<u64>> {
    match value {
        Value::Null => Some(None),
        Value::Number(seed) => seed.as_u64().map(Some),
        value => {
            let mut object = Object::read(value)?;
            match object.get("seed") {
                _ if object.class != "seedgenerator" => None,
                None | Some(Value::Null) => Some(None),
                Some(seed) => seed.as_u64().map(Some),
            }
        }
    }
}
