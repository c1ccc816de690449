//! A file of Keras or safetensors, whatever its kind: which attention layers it has, and their weights.

use serde_json::Value;

use super::{
    ARCHIVE, H5, JSON, Limits, SAFETENSORS, TensorInfo,
    archive::Archive,
    config_json::{ParsedConfig, read_layer},
    h5::{H5Layer, H5Weights},
    json::{clip, parse, parse_bytes},
    layer_tree::{ConfigLayer, attention_layers},
    safetensors::Header,
};
use crate::{Config, Error, FeatureWidths, Result, WeightSpec, Weights, weight_specs};

/// What kind of file a [`ModelFile`] was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A `.keras` archive: a model's configuration and weights.
    Archive,
    /// A `.weights.h5` file: a model's weights.
    H5,
    /// A safetensors file: one layer's weights, perhaps with its configuration.
    Safetensors,
    /// The JSON of a model or a layer, without weights.
    Config,
}

impl FileKind {
    fn format(self) -> &'static str {
        match self {
            FileKind::Archive => ARCHIVE,
            FileKind::H5 => H5,
            FileKind::Safetensors => SAFETENSORS,
            FileKind::Config => JSON,
        }
    }
}

/// The grouped-query attention layers of a file.
///
/// A `.keras` archive has all that a layer needs. A `.weights.h5` or safetensors file has the weights and usually no
/// configuration: [`from_parts`](Self::from_parts) takes it from the side.
pub struct ModelFile {
    kind: FileKind,
    keras_version: Option<String>,
    layers: Vec<LayerEntry>,
    /// The layer that the given configuration names, where it names one of several.
    preferred: Option<usize>,
    source: Source,
    /// How many bytes the weights of a layer may take.
    largest: u64,
}

/// Where weights are read from.
enum Source {
    Nowhere,
    H5(H5Weights),
    Safetensors { header: Header, bytes: Vec<u8> },
}

/// One grouped-query attention layer of a [`ModelFile`].
#[derive(Debug, Clone)]
pub struct LayerEntry {
    name: String,
    own_name: String,
    config: Result<ParsedConfig>,
    weights: Vec<TensorInfo>,
    h5: Option<H5Layer>,
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
}

impl ModelFile {
    /// Reads a `.keras`, `.weights.h5`, safetensors or JSON file, told apart by their contents.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        Self::read(bytes.into(), None, &Limits::default())
    }

    /// Reads a file with weights (`.weights.h5`, safetensors or `.keras`) and takes the configuration from `config_json`:
    /// that of a model (its `config.json`), or of one layer, serialized or as its `get_config()` returns it.
    pub fn from_parts(config_json: &str, weights: impl Into<Vec<u8>>) -> Result<Self> {
        Self::read(weights.into(), Some(config_json), &Limits::default())
    }

    /// [`from_bytes`](Self::from_bytes), or with a configuration [`from_parts`](Self::from_parts), under other limits.
    pub fn read(bytes: Vec<u8>, config_json: Option<&str>, limits: &Limits) -> Result<Self> {
        let given = config_json.map(|text| parse(JSON, text, limits.json_bytes)).transpose()?;
        let largest = limits.expanded(bytes.len());
        let (mut keras_version, mut config, source);
        let kind = kind_of(&bytes)?;
        match kind {
            FileKind::Archive => {
                let archive = Archive::read(&bytes, limits)?;
                drop(bytes);
                let json = |text: &[u8]| parse_bytes(ARCHIVE, text, limits.json_bytes);
                let metadata = archive.metadata.and_then(|text| json(&text).ok());
                keras_version =
                    metadata.and_then(|json| Some(json.get("keras_version")?.as_str()?.to_owned()));
                config = archive.config.filter(|_| given.is_none()).map(|text| json(&text)).transpose()?;
                source = Source::H5(H5Weights::open(archive.weights, largest)?);
            }
            FileKind::H5 => {
                (keras_version, config) = (None, None);
                source = Source::H5(H5Weights::open(bytes, largest)?);
            }
            FileKind::Safetensors => {
                let header = Header::read(&bytes, limits)?;
                let json = |text: &String| parse(SAFETENSORS, text, limits.json_bytes);
                config = header.config.as_ref().filter(|_| given.is_none()).map(json).transpose()?;
                keras_version = None;
                source = Source::Safetensors { header, bytes };
            }
            FileKind::Config => {
                let json = parse_bytes(JSON, &bytes, limits.json_bytes)?;
                if json.get("weight_map").is_some() {
                    let message = "the index of weights split into shards, which is not supported; save the weights \
                                   without `max_shard_size`";
                    return Err(Error::file(JSON, message));
                }
                if given.is_some() {
                    return Err(Error::file(JSON, "a second configuration where weights are expected"));
                }
                (keras_version, config, source) = (None, Some(json), Source::Nowhere);
            }
        }
        config = given.or(config);
        keras_version = keras_version.map(|version| clip(&version, 80));
        let (layers, preferred) = entries(kind, config.as_ref(), &source)?;
        Ok(Self { kind, keras_version, layers, preferred, source, largest })
    }

    /// What kind of file it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// The version of Keras that wrote the file, if it says so.
    pub fn keras_version(&self) -> Option<&str> {
        self.keras_version.as_deref()
    }

    /// The attention layers, in the model's order. Those of a class whose configuration is not in the file come last.
    pub fn layers(&self) -> &[LayerEntry] {
        &self.layers
    }

    /// Everything in the file that holds numbers, whether or not it belongs to an attention layer.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        match &self.source {
            Source::Nowhere => Vec::new(),
            Source::H5(h5) => h5.tensors(),
            Source::Safetensors { header, .. } => header.tensors(),
        }
    }

    /// The layer of this name (its own, or with those of the models around it, or its HDF5 group); without a name, the
    /// only one. Fails, listing those there are, where none or several match.
    pub fn layer(&self, name: Option<&str>) -> Result<&LayerEntry> {
        if self.layers.is_empty()
            && let Source::H5(H5Weights { legacy: true, .. }) = &self.source
        {
            let message = "it is in the format of Keras 2, which `model.save(\"model.h5\")` still writes; save the \
                           model as `.keras`, or its weights as `.weights.h5`";
            return Err(Error::file(H5, message));
        }
        let every: Vec<&LayerEntry> = self.layers.iter().collect();
        let Some(wanted) = name else {
            return match (every.as_slice(), self.preferred) {
                ([], _) => Err(Error::file(self.kind.format(), "it has no grouped-query attention layer")),
                ([only], _) => Ok(only),
                (_, Some(preferred)) => Ok(every[preferred]),
                (several, None) => Err(Error::AmbiguousLayer { wanted: None, candidates: names(several) }),
            };
        };
        let full: Vec<_> = every
            .iter()
            .copied()
            .filter(|layer| layer.name == wanted || layer.path() == Some(wanted))
            .collect();
        let own: Vec<_> = every.iter().copied().filter(|layer| layer.own_name == wanted).collect();
        match (full.as_slice(), own.as_slice()) {
            ([one], _) | ([], [one]) => Ok(one),
            ([], []) => Err(Error::LayerNotFound { wanted: clip(wanted, 200), available: names(&every) }),
            ([], several) | (several, _) => {
                Err(Error::AmbiguousLayer { wanted: Some(wanted.into()), candidates: names(several) })
            }
        }
    }

    /// Reads the weights of a layer, checked against its configuration before anything is read.
    pub fn weights(&self, layer: &LayerEntry) -> Result<Weights> {
        let config = layer.config()?;
        let format = self.kind.format();
        match &self.source {
            Source::Nowhere => return Err(Error::file(format, "it has no weights")),
            Source::H5(h5) if layer.h5.is_none() => {
                let available = h5.layers.iter().map(|group| group.path.clone()).collect();
                return Err(Error::LayerNotFound { wanted: layer.name.clone(), available });
            }
            _ => check(format, config, layer)?,
        }
        let elements =
            layer.weights.iter().map(|info| crate::array::element_count(&info.shape).unwrap_or(usize::MAX));
        let bytes = elements.fold(0usize, usize::saturating_add).saturating_mul(4) as u64;
        match &self.source {
            Source::H5(_) if bytes > self.largest => Err(Error::file(
                format,
                format!(
                    "the weights of `{}` take {bytes} bytes, more than the limit of {}",
                    layer.name, self.largest
                ),
            )),
            source => Weights::from_named(format, config, |name| match (source, &layer.h5) {
                (Source::H5(h5), Some(group)) => h5.read(group, name),
                (Source::Safetensors { header, bytes }, _) => header.float(bytes, name),
                _ => Ok(None),
            }),
        }
    }
}

/// The names of layers, or their paths where names are not enough.
fn names(layers: &[&LayerEntry]) -> Vec<String> {
    let unique = |name: &str| layers.iter().filter(|layer| layer.name == name).count() == 1;
    let name = |layer: &&LayerEntry| match layer.path() {
        Some(path) if !unique(&layer.name) => path.to_owned(),
        _ => layer.name.clone(),
    };
    layers.iter().map(name).collect()
}

/// Fails where the declared weights are not exactly those that the configuration demands.
fn check(format: &'static str, config: &Config, layer: &LayerEntry) -> Result<()> {
    let find = |name: &str| layer.weights.iter().find(|info| info.name == name);
    let known: Vec<_> = weight_specs(config, FeatureWidths::all(1)).iter().map(WeightSpec::name).collect();
    if let Some(name) = known.iter().find(|name| find(name).is_none()) {
        let found = layer.weights.iter().map(|info| info.name.clone()).collect();
        return Err(Error::MissingTensor { operation: format, name: name.clone(), found });
    }
    if let Some(info) = layer.weights.iter().find(|info| !known.contains(&info.name)) {
        return Err(Error::UnknownTensor { operation: format, name: info.name.clone(), known });
    }
    // A kernel without axes has no width, and is not of the right shape whatever the width is.
    let widths = layer.widths().unwrap_or(FeatureWidths::all(1));
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

/// Which kind of file these bytes are.
fn kind_of(bytes: &[u8]) -> Result<FileKind> {
    let text_starts = |bytes: &[u8]| bytes.trim_ascii_start().first() == Some(&b'{');
    let without_mark = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        Ok(FileKind::Archive)
    } else if hdf5_pure::is_hdf5_bytes(bytes) {
        Ok(FileKind::H5)
    } else if text_starts(without_mark) {
        Ok(FileKind::Config)
    } else if bytes.get(8..).is_some_and(text_starts) {
        Ok(FileKind::Safetensors)
    } else {
        let start = bytes.get(..bytes.len().min(8)).unwrap_or_default();
        let what = match start {
            [] => "it is empty".into(),
            start if start.starts_with(b"\x89PNG") => "it is a PNG image".into(),
            start => format!("it starts with `{}`", start.escape_ascii()),
        };
        Err(Error::file(
            "model file",
            format!("neither a .keras archive, HDF5, safetensors nor JSON: {what}"),
        ))
    }
}

/// The layers of a file, and the one that a single layer's configuration names.
fn entries(
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
    let name = group.own_name.clone().filter(unique).unwrap_or_else(|| group.path.clone());
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
