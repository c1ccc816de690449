//! The attention layers of a file: configurations and groups of weights, brought together.

use serde_json::Value;

use super::{
    FileKind, TensorInfo,
    config_json::{ParsedConfig, read_layer},
    h5::{H5Layer, H5Weights},
    layer_tree::{ConfigLayer, attention_layers},
};
use crate::safetensors::Header;
use crate::{Config, Error, FeatureWidths, Result, WeightSpec, Weights, weight_specs};

/// Where weights are read from.
pub(super) enum Source {
    Nowhere,
    H5(H5Weights),
    Safetensors { header: Header, bytes: Vec<u8> },
}

/// One grouped-query attention layer of a [`ModelFile`](super::ModelFile).
#[derive(Debug, Clone)]
pub struct LayerEntry {
    name: String,
    pub(super) own_name: String,
    config: Result<ParsedConfig>,
    weights: Vec<TensorInfo>,
    pub(super) h5: Option<H5Layer>,
}

impl LayerEntry {
    /// The layer's name; for a layer in a nested model those of the models around it too, as in `encoder/block_1/attn`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group of the layer in the HDF5 file, such as `layers/grouped_query_attention_1`.
    pub fn path(&self) -> Option<&str> {
        self.h5.as_ref().map(|layer| layer.path.as_str())
    }

    /// The layer's configuration. Fails where the file has none, or one that can't be used.
    pub fn config(&self) -> Result<&Config> {
        self.config.as_ref().map(|parsed| &parsed.config).map_err(Error::clone)
    }

    /// What the configuration says that has no meaning here; see [`ParsedConfig::unknown_keys`].
    pub fn unknown_keys(&self) -> &[String] {
        self.config.as_ref().map_or(&[], |parsed| &parsed.unknown_keys)
    }

    /// The layer's weights as the file declares them, under the names `query/kernel` and so on.
    pub fn weights(&self) -> &[TensorInfo] {
        &self.weights
    }

    /// The feature widths that the weights are for, if the file has the kernels they follow from.
    pub fn widths(&self) -> Option<FeatureWidths> {
        let width = |name: &str| {
            let kernel = self.weights.iter().find(|info| info.name == name)?;
            kernel.shape.first().copied()
        };
        let (query, key, value) = (width("query/kernel")?, width("key/kernel")?, width("value/kernel")?);
        Some(FeatureWidths { query, key, value })
    }

    /// Fails where the declared weights are not exactly those that the configuration demands.
    pub(super) fn check(&self, format: &'static str, config: &Config) -> Result<()> {
        let find = |name: &str| self.weights.iter().find(|info| info.name == name);
        let known: Vec<_> =
            weight_specs(config, FeatureWidths::all(1)).iter().map(WeightSpec::name).collect();
        if let Some(name) = known.iter().find(|name| find(name).is_none()) {
            let found = self.weights.iter().map(|info| info.name.clone()).collect();
            return Err(Error::MissingTensor { operation: format, name: name.clone(), found });
        }
        if let Some(info) = self.weights.iter().find(|info| !known.contains(&info.name)) {
            return Err(Error::UnknownTensor { operation: format, name: info.name.clone(), known });
        }
        // A kernel without axes has no width, and is not of the right shape whatever the width is.
        let widths = self.widths().unwrap_or(FeatureWidths::all(1));
        for spec in weight_specs(config, widths) {
            let name = spec.name();
            if let Some(info) = find(&name)
                && (info.shape != spec.shape || info.shape.contains(&0))
            {
                let expected = format!("of shape {:?} with no axis of length 0", spec.shape);
                return Err(Error::argument(format, name, expected, format!("{:?}", info.shape)));
            }
        }
        Ok(())
    }
}

impl LayerEntry {
    /// Fails where `weights` have other names or shapes than the declared ones.
    pub(super) fn check_replacement(&self, format: &'static str, weights: &Weights) -> Result<()> {
        let new = weights.named();
        for (name, array) in &new {
            let found = || self.weights.iter().map(|info| info.name.clone()).collect();
            let old = self.weights.iter().find(|info| info.name == *name).ok_or_else(|| {
                Error::UnknownTensor { operation: format, name: name.clone(), known: found() }
            })?;
            if old.shape != array.shape() {
                let expected = format!("of shape {:?}, which the file has", old.shape);
                return Err(Error::argument(format, name, expected, format!("{:?}", array.shape())));
            }
        }
        match self.weights.iter().find(|info| new.iter().all(|(name, _)| info.name != *name)) {
            Some(info) => Err(Error::MissingTensor {
                operation: format,
                name: info.name.clone(),
                found: new.into_iter().map(|(name, _)| name).collect(),
            }),
            None => Ok(()),
        }
    }
}

/// The layers of a file, and the one that a single layer's configuration names.
pub(super) fn entries(
    kind: FileKind,
    config: Option<&Value>,
    source: &Source,
) -> Result<(Vec<LayerEntry>, Option<usize>)> {
    let groups: &[H5Layer] = match source {
        Source::H5(h5) => &h5.layers,
        _ => &[],
    };
    match config.map(|json| (read_layer(json), json)) {
        // One layer's configuration is for whichever group is chosen.
        Some((Some(parsed), _)) => {
            let parsed = parsed?;
            let name = parsed.config.name.clone();
            if groups.is_empty() {
                return Ok((vec![entry(name.clone(), name, Ok(parsed), None, source)], None));
            }
            let mut named =
                groups.iter().enumerate().filter(|(_, group)| group.own_name.as_ref() == Some(&name));
            let preferred = named.next().map(|(at, _)| at).filter(|_| named.next().is_none());
            Ok((
                groups.iter().map(|group| group_entry(groups, group, Ok(parsed.clone()), source)).collect(),
                preferred,
            ))
        }
        Some((None, model)) => {
            let layers = attention_layers(model);
            let matches = match_groups(&layers, groups);
            let left = groups.iter().enumerate().filter(|(at, _)| !matches.contains(&Some(*at)));
            let left: Vec<_> =
                left.map(|(_, group)| group_entry(groups, group, Err(no_config(kind)), source)).collect();
            let configured = layers.into_iter().zip(&matches).map(|(layer, &group)| {
                let group = group.map(|at| groups[at].clone());
                entry(layer.name, layer.own_name, layer.config, group, source)
            });
            Ok((configured.chain(left).collect(), None))
        }
        None => {
            let mut layers: Vec<_> =
                groups.iter().map(|group| group_entry(groups, group, Err(no_config(kind)), source)).collect();
            if let Source::Safetensors { header, .. } = source
                && header.tensors().iter().any(|info| info.name == "query/kernel")
            {
                let name = Config::new(1, 1, 1).name;
                layers.push(entry(name.clone(), name, Err(no_config(kind)), None, source));
            }
            Ok((layers, None))
        }
    }
}

fn no_config(kind: FileKind) -> Error {
    let message = match kind {
        FileKind::Archive => {
            "its config.json has no configuration of this layer, because the layer belongs to a class of your own; give \
             the JSON of its `get_config()`"
        }
        _ => "the file has weights only; give the JSON configuration of the layer or the model as well",
    };
    Error::file(kind.format(), message)
}

fn entry(
    name: String,
    own_name: String,
    config: Result<ParsedConfig>,
    h5: Option<H5Layer>,
    source: &Source,
) -> LayerEntry {
    let weights = match (source, &h5) {
        (Source::Safetensors { header, .. }, _) => header.tensors(),
        (_, Some(group)) => group.weights.clone(),
        (_, None) => Vec::new(),
    };
    LayerEntry { name, own_name, config, weights, h5 }
}

/// A layer known by its group alone: it has its own name where no other group has it, and otherwise its path.
fn group_entry(
    groups: &[H5Layer],
    group: &H5Layer,
    config: Result<ParsedConfig>,
    source: &Source,
) -> LayerEntry {
    let unique =
        |name: &String| groups.iter().filter(|other| other.own_name.as_ref() == Some(name)).count() == 1;
    let name = group.own_name.clone().filter(unique).unwrap_or_else(|| match group.path.as_str() {
        "" => Config::new(1, 1, 1).name,
        path => path.to_owned(),
    });
    let own_name = group.own_name.clone().unwrap_or_else(|| name.clone());
    entry(name, own_name, config, Some(group.clone()), source)
}

/// The group of each layer: the one at its path, as Keras itself would load it, and otherwise the only one of its name.
fn match_groups(layers: &[ConfigLayer], groups: &[H5Layer]) -> Vec<Option<usize>> {
    let by_path = |layer: &ConfigLayer| {
        let at = groups.iter().position(|group| group.path == layer.path)?;
        let named_so = groups[at].own_name.as_ref().is_none_or(|name| *name == layer.own_name);
        (layer.certain || named_so).then_some(at)
    };
    let mut matches: Vec<_> = layers.iter().map(by_path).collect();
    let taken = matches.clone();
    for (layer, found) in layers.iter().zip(&mut matches) {
        if found.is_none() {
            let mut named = (0..groups.len()).filter(|at| {
                !taken.contains(&Some(*at)) && groups[*at].own_name.as_ref() == Some(&layer.own_name)
            });
            *found = named.next().filter(|_| named.next().is_none());
        }
    }
    matches
}
