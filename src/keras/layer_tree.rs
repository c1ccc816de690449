//! The attention layers of a model's `config.json`, and where Keras puts the weights of each.
//!
//! Keras saves an object's variables under the path of attributes that leads to it, and names the members of a list by
//! their class (`saving_lib.py`, `_save_state` and `_save_container_state`):
//!
//! ```text
//! save(object, path):
//!     skip an object that was saved before
//!     for each attribute holding an object:  save(it, path/attribute)          a model's `layers` come first
//!     for each attribute holding a list:
//!         for each member: save(it, path/attribute/snake_case(class)[_n])      n counts members of that name, from 1
//! ```
//!
//! So the second attention layer of a model in a model is
//! `layers/functional/layers/grouped_query_attention_1`. The layers' own names play no part.
//!
//! `config.json` holds what each object's `get_config()` returns. For models and wrappers that is their attributes by
//! name, so the path is known; for classes that a user wrote it usually is, and otherwise the name that the weights
//! carry decides.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::config_json::{ParsedConfig, is_attention, read_config};
use crate::{Error, Result};

/// One attention layer of a model.
#[derive(Debug, Clone)]
pub(super) struct ConfigLayer {
    /// The names of the models around it and its own, joined by `/`, without the outermost model.
    pub(super) name: String,
    /// The layer's own name.
    pub(super) own_name: String,
    /// Where its weights are.
    pub(super) path: String,
    /// Whether the path is certain, or the attribute of a class that may keep its layers elsewhere.
    pub(super) certain: bool,
    /// Its configuration, or why that can't be used.
    pub(super) config: Result<ParsedConfig>,
}

/// The attention layers of a serialized model, in Keras' order. One that is shared is listed once, where its weights
/// are.
pub(super) fn attention_layers(model: &Value) -> Vec<ConfigLayer> {
    let mut walk = Walk { layers: Vec::new(), seen: HashSet::new() };
    if let Some(object) = serialized(model) {
        walk.object(object, &Place { names: None, path: String::new(), certain: true });
    }
    walk.layers
}

/// The configuration of the model's one attention layer.
pub(super) fn only_layer(model: &Value) -> Result<ParsedConfig> {
    let mut layers = attention_layers(model);
    match layers.len() {
        1 => layers.remove(0).config,
        0 => Err(Error::file(
            super::JSON,
            "neither a GroupQueryAttention layer nor a model that has one (a layer of a class of your own can't be read)",
        )),
        _ => Err(Error::AmbiguousLayer {
            wanted: None,
            candidates: layers.into_iter().map(|layer| layer.name).collect(),
        }),
    }
}

/// Where the walk is.
struct Place {
    /// The names so far; `None` at the outermost model.
    names: Option<String>,
    path: String,
    certain: bool,
}

impl Place {
    fn inside(&self, name: Option<&str>) -> Option<String> {
        match (&self.names, name) {
            (Some(names), Some(name)) if !names.is_empty() => Some(format!("{names}/{name}")),
            (Some(_), Some(name)) => Some(name.to_owned()),
            (names, _) => Some(names.clone().unwrap_or_default()),
        }
    }
}

struct Walk {
    layers: Vec<ConfigLayer>,
    /// The shared objects that were visited.
    seen: HashSet<u64>,
}

impl Walk {
    /// Visits a serialized object. Nesting is bounded by the JSON parser's.
    fn object(&mut self, object: &Map<String, Value>, at: &Place) {
        if let Some(id) = object.get("shared_object_id").and_then(Value::as_u64)
            && !self.seen.insert(id)
        {
            return;
        }
        let Some(config) = object.get("config").and_then(Value::as_object) else { return };
        let own_name = config.get("name").or_else(|| object.get("name")).and_then(Value::as_str);
        if is_attention(object) {
            let own_name = own_name.unwrap_or("group_query_attention");
            self.layers.push(ConfigLayer {
                name: at.inside(Some(own_name)).unwrap_or_default(),
                own_name: own_name.to_owned(),
                path: at.path.clone(),
                certain: at.certain,
                config: read_config(config),
            });
            return;
        }
        let names = at.inside(own_name);
        let certain = at.certain && super::terms_json::is_keras_own(object);
        let first = config.get_key_value("layers");
        for (key, value) in first.into_iter().chain(config.iter().filter(|(key, _)| *key != "layers")) {
            let place = Place { names: names.clone(), path: join(&at.path, key), certain };
            match value {
                Value::Array(members) => self.container(members, &place),
                value => {
                    if let Some(object) = serialized(value) {
                        self.object(object, &place);
                    }
                }
            }
        }
    }

    /// Visits a list, naming its members as Keras does.
    fn container(&mut self, members: &[Value], at: &Place) {
        let mut used: HashMap<String, usize> = HashMap::new();
        let mut place = |kind: String| {
            let count = used.entry(kind.clone()).and_modify(|count| *count += 1).or_insert(0);
            let name = if *count == 0 { kind } else { format!("{kind}_{count}") };
            Place { names: at.names.clone(), path: join(&at.path, &name), certain: at.certain }
        };
        for member in members {
            if let Value::Array(members) = member {
                let place = place("container".into());
                self.container(members, &place);
            } else if let Some(object) = serialized(member) {
                let place = place(snake_case(python_class(object)));
                self.object(object, &place);
            }
        }
    }
}

/// The value as a serialized object.
fn serialized(value: &Value) -> Option<&Map<String, Value>> {
    let object = value.as_object()?;
    let complete = object.get("class_name")?.is_string() && object.contains_key("config");
    complete.then_some(object)
}

/// The name of the Python class, which differs from its public name for the attention layer.
fn python_class(object: &Map<String, Value>) -> &str {
    match object.get("class_name").and_then(Value::as_str) {
        _ if is_attention(object) => "GroupedQueryAttention",
        Some(class) => class.rsplit('>').next().unwrap_or(class),
        None => "",
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// Keras' `to_snake_case`.
///
/// It drops what is not a word character, then separates a capital that starts a lower-case run from what is before it,
/// then a capital from a lower-case letter before it.
fn snake_case(class: &str) -> String {
    let word: Vec<char> = class.chars().filter(|&c| c == '_' || c.is_alphanumeric()).collect();
    // `(.)([A-Z][a-z]+)` → `\1_\2`, matches not overlapping.
    let mut split = Vec::with_capacity(word.len() + 8);
    let mut at = 0;
    while at < word.len() {
        split.push(word[at]);
        let run = word.iter().skip(at + 2).take_while(|c| c.is_ascii_lowercase()).count();
        if word.get(at + 1).is_some_and(char::is_ascii_uppercase) && run > 0 {
            split.push('_');
            split.extend(&word[at + 1..at + 2 + run]);
            at += 2 + run;
        } else {
            at += 1;
        }
    }
    // `([a-z])([A-Z])` → `\1_\2`.
    let mut snake = String::with_capacity(split.len() + 8);
    for (at, c) in split.iter().enumerate() {
        if at > 0 && c.is_ascii_uppercase() && split[at - 1].is_ascii_lowercase() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn class_names_become_snake_case_as_in_keras() {
        for (class, wanted) in [
            ("GroupedQueryAttention", "grouped_query_attention"),
            ("TimeDistributed", "time_distributed"),
            ("L1L2", "l1l2"),
            ("STFTInitializer", "stft_initializer"),
            ("MyGQABlock2D", "my_gqa_block2d"),
            ("A1Bc", "a1_bc"),
            ("Already_Snake", "already__snake"),
            ("Functional", "functional"),
            ("", ""),
        ] {
            assert_eq!(snake_case(class), wanted, "{class}");
        }
    }

    fn attention(name: &str) -> Value {
        let config = json!({"name": name, "head_dim": 1, "num_query_heads": 1, "num_key_value_heads": 1});
        json!({"module": "keras.layers", "class_name": "GroupQueryAttention", "registered_name": null, "config": config})
    }

    fn object(module: &str, class: &str, config: Value) -> Value {
        let registered = (!module.starts_with("keras")).then(|| format!("{module}>{class}"));
        json!({"module": module, "class_name": class, "registered_name": registered, "config": config})
    }

    #[test]
    fn paths_follow_attributes_and_number_the_members_of_lists() {
        let wrapped =
            object("keras.layers", "TimeDistributed", json!({"name": "each", "layer": attention("a")}));
        let own = object(
            "my",
            "GroupedQueryAttention",
            json!({"name": "own", "inside": [[attention("b")], 1, attention("c")]}),
        );
        let model = object(
            "keras",
            "Sequential",
            json!({"name": "outermost", "attribute": attention("d"), "layers": [wrapped, own, attention("e")]}),
        );
        let found: Vec<_> =
            attention_layers(&model).into_iter().map(|l| (l.name, l.path, l.certain)).collect();
        let wanted = [
            ("each/a", "layers/time_distributed/layer", true),
            ("own/b", "layers/grouped_query_attention/inside/container/grouped_query_attention", false),
            ("own/c", "layers/grouped_query_attention/inside/grouped_query_attention", false),
            ("e", "layers/grouped_query_attention_1", true),
            ("d", "attribute", true),
        ];
        assert_eq!(found, wanted.map(|(name, path, certain)| (name.to_owned(), path.to_owned(), certain)));
    }

    #[test]
    fn a_shared_layer_is_listed_where_its_weights_are() {
        let mut shared = attention("shared");
        shared["shared_object_id"] = json!(140_459_058_847_568_u64);
        let inner = object(
            "keras",
            "Sequential",
            json!({"name": "inner", "layers": [shared.clone(), attention("own")]}),
        );
        let model = object("keras", "Sequential", json!({"name": "outer", "layers": [inner, shared]}));
        let names: Vec<_> = attention_layers(&model).into_iter().map(|layer| layer.name).collect();
        assert_eq!(names, ["inner/shared", "inner/own"]);
    }
}
