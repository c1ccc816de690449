//! A file of Keras or safetensors, whatever its kind: which attention layers it has, and their weights.

use serde_json::Value;

use std::fmt;

use super::{
    ARCHIVE, FileKind, H5, JSON, LayerEntry, Limits, SAFETENSORS, TensorInfo,
    archive::{Archive, Rest},
    file_kind::kind_of,
    h5::{H5Layer, H5Weights},
    json::{parse, parse_bytes},
    layer_entry::{Source, entries},
    safetensors::config_json,
};
use crate::error::clip;
use crate::safetensors::Header;
use crate::{Error, Result, Weights};

/// The grouped-query attention layers of a file.
///
/// A `.keras` archive has all that a layer needs. A `.weights.h5` or safetensors file has the weights and usually no
/// configuration: [`from_parts`](Self::from_parts) takes it from the side.
pub struct ModelFile {
    kind: FileKind,
    keras_version: Option<String>,
    config: Option<Value>,
    layers: Vec<LayerEntry>,
    /// The layer that the given configuration names, where it names one of several.
    preferred: Option<usize>,
    source: Source,
    /// What else is in the archive, where the weights are from one.
    rest: Option<Result<Rest>>,
    /// How many bytes the weights of a layer may take.
    largest: u64,
}

impl fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, keras_version, layers, .. } = self;
        let mut debug = f.debug_struct("ModelFile");
        debug
            .field("kind", kind)
            .field("keras_version", keras_version)
            .field("layers", layers)
            .finish_non_exhaustive()
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
        Self::read_with(bytes, given, limits)
    }

    /// The weights of another file (`.weights.h5`, safetensors or `.keras`) under this file's configuration.
    pub fn with_weights(&self, weights: impl Into<Vec<u8>>) -> Result<Self> {
        match &self.config {
            Some(config) => Self::read_with(weights.into(), Some(config.clone()), &Limits::default()),
            None => Err(Error::file(self.kind.format(), "it has no configuration")),
        }
    }

    fn read_with(bytes: Vec<u8>, given: Option<Value>, limits: &Limits) -> Result<Self> {
        let largest = limits.expanded(bytes.len());
        let (mut keras_version, mut config, source);
        let mut rest = None;
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
                rest = Some(archive.rest);
            }
            FileKind::H5 => {
                (keras_version, config) = (None, None);
                source = Source::H5(H5Weights::open(bytes, largest)?);
            }
            FileKind::Safetensors => {
                let header = Header::read(&bytes, limits.json_bytes)?;
                let json = |text: &String| parse(SAFETENSORS, text, limits.json_bytes);
                config = config_json(&header).filter(|_| given.is_none()).map(json).transpose()?;
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
        Ok(Self { kind, keras_version, config, layers, preferred, source, rest, largest })
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
            .filter(|layer| layer.name() == wanted || layer.path() == Some(wanted))
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
        self.has_weights(layer)?;
        layer.check(format, config)?;
        let elements =
            layer.weights().iter().map(|info| crate::array::element_count(&info.shape).unwrap_or(usize::MAX));
        let bytes = elements.fold(0usize, usize::saturating_add).saturating_mul(4) as u64;
        match &self.source {
            Source::H5(_) if bytes > self.largest => Err(Error::file(
                format,
                format!(
                    "the weights of `{}` take {bytes} bytes, more than the limit of {}",
                    layer.name(),
                    self.largest
                ),
            )),
            source => Weights::from_named(format, config, |name| match (source, &layer.h5) {
                (Source::H5(h5), Some(group)) => h5.read(group, name),
                (Source::Safetensors { header, bytes }, _) => header.float(bytes, name),
                _ => Ok(None),
            }),
        }
    }

    /// The same file with other weights for one layer of it; everything else is kept, byte for byte: other layers,
    /// configuration, optimizer, metadata. Of weights under a configuration from the side it is the weights' file.
    ///
    /// Values are rounded to the types that the file stores. Fails where `weights` have other names or shapes than the
    /// layer's [declared ones](LayerEntry::weights), and where an HDF5 file has them compressed or in chunks, which Keras
    /// doesn't write.
    pub fn replace_weights(&self, layer: &LayerEntry, weights: &Weights) -> Result<Vec<u8>> {
        let group = self.has_weights(layer)?;
        layer.check_replacement(self.kind.format(), weights)?;
        match (&self.source, group) {
            (Source::H5(h5), Some(group)) => {
                let replaced = h5.replaced(group, weights)?;
                match &self.rest {
                    Some(rest) => rest.as_ref().map_err(Error::clone)?.with_weights(&replaced),
                    None => Ok(replaced),
                }
            }
            (Source::Safetensors { header, bytes }, _) => header.replaced(bytes, weights),
            _ => Err(self.without_weights()),
        }
    }

    /// Fails where the file has no weights for the layer. Its group, if the file is HDF5.
    fn has_weights<'a>(&self, layer: &'a LayerEntry) -> Result<Option<&'a H5Layer>> {
        match &self.source {
            Source::Nowhere => Err(self.without_weights()),
            Source::H5(h5) if layer.h5.is_none() => {
                let available = h5.layers.iter().map(|group| group.path.clone()).collect();
                Err(Error::LayerNotFound { wanted: layer.name().to_owned(), available })
            }
            _ => Ok(layer.h5.as_ref()),
        }
    }

    fn without_weights(&self) -> Error {
        Error::file(self.kind.format(), "it has no weights")
    }
}

/// The names of layers, or their paths where names are not enough.
fn names(layers: &[&LayerEntry]) -> Vec<String> {
    let unique = |name: &str| layers.iter().filter(|layer| layer.name() == name).count() == 1;
    let name = |layer: &&LayerEntry| match layer.path() {
        Some(path) if !unique(layer.name()) => path.to_owned(),
        _ => layer.name().to_owned(),
    };
    layers.iter().map(name).collect()
}
