//! `.weights.h5` files: finding the variables of attention layers in HDF5, and reading them.
//!
//! Each variable of an attention layer is at `<layer>/_query_dense/vars/0` (kernel) or `/1` (bias), likewise
//! `_key_dense`, `_value_dense`, `_gate_dense` and `_output_dense`. The group `<layer>/vars` carries the layer's name
//! in its attribute `name`.

use std::collections::BTreeMap;

use hdf5_pure::{AttrValue, Dataset, Datatype, DatatypeByteOrder, File, FloatingPointLayout, Group};

use super::{H5, TensorInfo};
use crate::elements::floats;
use crate::error::clip;
use crate::{Array, DType, Error, Result};

/// The groups of a layer's projections, and the names that this library gives the projections.
pub(super) const PROJECTIONS: [(&str, &str); 5] = [
    ("_query_dense", "query"),
    ("_key_dense", "key"),
    ("_value_dense", "value"),
    ("_gate_dense", "gate"),
    ("_output_dense", "attention_output"),
];

/// Groups deeper than this are not visited. Keras nests about three per model in a model.
const DEEPEST: usize = 256;

/// An open file, all of whose datasets are known.
pub(super) struct H5Weights {
    pub(super) file: File,
    /// How many bytes one read may produce.
    largest: u64,
    /// Every dataset by its path.
    pub(super) datasets: BTreeMap<String, TensorInfo>,
    /// The layers that look like grouped-query attention.
    pub(super) layers: Vec<H5Layer>,
    /// Whether this is the format of Keras 2, which `model.save("x.h5")` still writes.
    pub(super) legacy: bool,
}

/// A group that holds what an attention layer has.
#[derive(Debug, Clone)]
pub(super) struct H5Layer {
    pub(super) path: String,
    /// The layer's own name, if the file says it.
    pub(super) own_name: Option<String>,
    /// Its variables as `query/kernel` and so on. What has no such name keeps the name it has below the layer.
    pub(super) weights: Vec<TensorInfo>,
}

impl H5Weights {
    /// Opens a file and lists its datasets, reading none of them. No array may then be larger than `largest` bytes.
    pub(super) fn open(bytes: Vec<u8>, largest: u64) -> Result<Self> {
        // Every object takes at least 32 bytes of the file, unless groups are linked into each other to make a maze.
        let mut walk =
            Walk { left: bytes.len() / 32 + 16, datasets: BTreeMap::new(), names: BTreeMap::new() };
        let file = File::from_bytes(bytes).map_err(refuse)?;
        let root = file.root();
        walk.group(&root, "", 0)?;
        let legacy = walk.datasets.keys().any(|path| path.starts_with("model_weights/"))
            || root.attrs().is_ok_and(|attrs| attrs.contains_key("layer_names"));
        let layers = find_layers(&walk);
        Ok(Self { file, largest, datasets: walk.datasets, layers, legacy })
    }

    /// Every dataset of the file.
    pub(super) fn tensors(&self) -> Vec<TensorInfo> {
        self.datasets.values().cloned().collect()
    }

    /// Reads a layer's variable, such as `query/kernel`.
    pub(super) fn read(&self, layer: &H5Layer, name: &str) -> Result<Option<Array<f32>>> {
        match self.variable(layer, name) {
            Some(info) => self.read_dataset(info).map(Some),
            None => Ok(None),
        }
    }

    /// The dataset of a layer's variable, such as `query/kernel`.
    pub(super) fn variable(&self, layer: &H5Layer, name: &str) -> Option<&TensorInfo> {
        let path = PROJECTIONS.iter().find_map(|(group, projection)| {
            let index = match name.strip_prefix(projection)? {
                "/kernel" => 0,
                "/bias" => 1,
                _ => return None,
            };
            Some(join(&layer.path, &format!("{group}/vars/{index}")))
        })?;
        self.datasets.get(&path)
    }

    fn read_dataset(&self, info: &TensorInfo) -> Result<Array<f32>> {
        let path = &info.name;
        let dataset = self.file.dataset(path).map_err(|error| refuse_dataset(path, error))?;
        let element = element_type(&dataset).map_err(|error| refuse_dataset(path, error))?;
        to_usize(path, &dataset.shape().map_err(|error| refuse_dataset(path, error))?)?;
        let Element::Float(dtype, big_endian) = element else {
            return Err(Error::argument(
                H5,
                path,
                "of dtype float32, float16 or bfloat16",
                format!("{element} (a quantized or double-precision layer?)"),
            ));
        };
        // Before anything is allocated: unwritten and compressed storage can claim any size.
        let bytes = element_bytes(&info.shape, dtype.size());
        let chunk = match dataset.chunk_shape().map_err(|error| refuse_dataset(path, error))? {
            Some(chunk) => element_bytes(&to_usize(path, &chunk)?, dtype.size()),
            None => Some(0),
        };
        match (bytes, chunk) {
            (Some(bytes), Some(chunk)) if bytes.max(chunk) <= self.largest => {}
            _ => {
                return Err(Error::file(
                    H5,
                    format!(
                        "`{path}` of shape {:?} is larger than the limit of {} bytes for a file of this size",
                        info.shape, self.largest
                    ),
                ));
            }
        }
        let raw = dataset.read_raw().map_err(|error| refuse_dataset(path, error))?;
        Array::new(info.shape.clone(), floats(&raw, dtype, big_endian)).map_err(|_| {
            Error::file(
                H5,
                format!("`{path}` has {} bytes, not those of its shape {:?}", raw.len(), info.shape),
            )
        })
    }
}

/// The element type of a dataset.
pub(super) enum Element {
    /// A type this library computes with, and whether its bytes are big-endian.
    Float(DType, bool),
    /// Any other, in words.
    Other(String),
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Element::Float(dtype, _) => f.write_str(super::keras_dtype(*dtype)),
            Element::Other(name) => f.write_str(name),
        }
    }
}

/// Keras writes bfloat16 as opaque pairs of bytes with an attribute `dtype`; other writers may describe the format.
pub(super) fn element_type(dataset: &Dataset) -> Result<Element, hdf5_pure::Error> {
    let datatype = dataset.datatype()?;
    let float = |dtype, order| match order {
        DatatypeByteOrder::LittleEndian => Element::Float(dtype, false),
        DatatypeByteOrder::BigEndian => Element::Float(dtype, true),
        _ => Element::Other("a float in VAX byte order".into()),
    };
    Ok(match datatype {
        Datatype::FloatingPoint { size: 4, byte_order, layout: FloatingPointLayout::IEEE754_BINARY32 } => {
            float(DType::F32, byte_order)
        }
        Datatype::FloatingPoint {
            size: 2,
            byte_order,
            layout:
                FloatingPointLayout {
                    mantissa_location: 0, mantissa_size, exponent_location, exponent_bias, ..
                },
        } => match (mantissa_size, exponent_location, exponent_bias) {
            (10, 10, 15) => float(DType::F16, byte_order),
            (7, 7, 127) => float(DType::Bf16, byte_order),
            _ => Element::Other("a 16-bit float of an unknown format".into()),
        },
        Datatype::FloatingPoint { size, .. } => Element::Other(format!("float{}", u64::from(size) * 8)),
        Datatype::Opaque { size: 2, .. } if dtype_attribute(dataset).as_deref() == Some("bfloat16") => {
            Element::Float(DType::Bf16, false)
        }
        Datatype::FixedPoint { size, layout, .. } => {
            Element::Other(format!("{}int{}", if layout.signed { "" } else { "u" }, u64::from(size) * 8))
        }
        Datatype::String { .. } | Datatype::VariableLength { is_string: true, .. } => {
            Element::Other("string".into())
        }
        Datatype::Opaque { size, .. } => Element::Other(format!("opaque elements of {size} bytes")),
        Datatype::Enumeration { .. } => Element::Other("enumeration".into()),
        _ => Element::Other("not numbers".into()),
    })
}

fn dtype_attribute(dataset: &Dataset) -> Option<String> {
    text(dataset.attrs().ok()?.get("dtype")?)
}

fn text(value: &AttrValue) -> Option<String> {
    value.as_str().map(str::to_owned)
}

struct Walk {
    /// How many more objects may be visited.
    left: usize,
    datasets: BTreeMap<String, TensorInfo>,
    /// The attribute `name` of each group `<path>/vars`, by `<path>`.
    names: BTreeMap<String, String>,
}

impl Walk {
    fn group(&mut self, group: &Group, path: &str, depth: usize) -> Result<()> {
        let unreadable = |error| refuse_dataset(path, error);
        if depth > DEEPEST {
            return Err(Error::file(H5, format!("groups are nested more than {DEEPEST} deep")));
        }
        for (name, dataset) in group.iter_datasets().map_err(unreadable)? {
            self.visit()?;
            let path = join(path, &name);
            // One that can't be understood must not hide the others; reading it says what is wrong.
            let shape = dataset.shape().map_err(|error| refuse_dataset(&path, error));
            let shape = shape.and_then(|shape| to_usize(&path, &shape)).unwrap_or_default();
            let dtype = element_type(&dataset).map_or("unreadable".into(), |element| element.to_string());
            let info = TensorInfo { name: path.clone(), shape, dtype };
            self.datasets.insert(path, info);
        }
        for (name, child) in group.iter_groups().map_err(unreadable)? {
            self.visit()?;
            if name == "vars"
                && let Some(name) = child.attrs().ok().and_then(|attrs| text(attrs.get("name")?))
            {
                self.names.insert(path.to_owned(), name);
            }
            self.group(&child, &join(path, &name), depth + 1)?;
        }
        Ok(())
    }

    fn visit(&mut self) -> Result<()> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Error::file(H5, "it links to more objects than a file of this size can hold"))?;
        Ok(())
    }
}

/// The groups that have at least two of the kernels that only an attention layer has.
///
/// Keras' `MultiHeadAttention` names its projections `query_dense` and so on, without the underscore, from version 3.4;
/// before that its groups are told by their own name.
fn find_layers(walk: &Walk) -> Vec<H5Layer> {
    let mut layers: BTreeMap<&str, Vec<TensorInfo>> = BTreeMap::new();
    for (path, info) in &walk.datasets {
        let parts = PROJECTIONS.iter().find_map(|(group, projection)| {
            let (layer, variable) = match path.strip_prefix(group) {
                Some(variable) => ("", variable),
                None => path.rsplit_once(&format!("/{group}"))?,
            };
            let name = match variable.strip_prefix("/vars/")? {
                "0" => format!("{projection}/kernel"),
                "1" => format!("{projection}/bias"),
                _ => format!("{group}{variable}"),
            };
            Some((layer, name))
        });
        if let Some((layer, name)) = parts {
            layers.entry(layer).or_default().push(TensorInfo { name, ..info.clone() });
        }
    }
    let looks_right = |path: &str, weights: &[TensorInfo]| {
        let has = |name: &str| usize::from(weights.iter().any(|weight| weight.name == name));
        let last = path.rsplit('/').next().unwrap_or_default();
        has("query/kernel") + has("key/kernel") + has("value/kernel") >= 2
            && !last.starts_with("multi_head_attention")
    };
    layers
        .into_iter()
        .filter(|(path, weights)| looks_right(path, weights))
        .map(|(path, mut weights)| {
            weights.sort_by_key(|weight| {
                let projection = weight.name.split('/').next().unwrap_or_default();
                let order =
                    PROJECTIONS.iter().position(|(_, name)| *name == projection).unwrap_or(PROJECTIONS.len());
                (order, weight.name.ends_with("/bias"))
            });
            H5Layer { path: path.to_owned(), own_name: walk.names.get(path).cloned(), weights }
        })
        .collect()
}

fn element_bytes(shape: &[usize], size: usize) -> Option<u64> {
    let bytes = crate::array::element_count(shape)?.checked_mul(size)?;
    u64::try_from(bytes).ok()
}

fn to_usize(path: &str, shape: &[u64]) -> Result<Vec<usize>> {
    let convert = |&n| {
        usize::try_from(n).map_err(|_| {
            Error::file(H5, format!("`{path}` of shape {shape:?} is too large for this platform"))
        })
    };
    shape.iter().map(convert).collect()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

fn refuse(error: hdf5_pure::Error) -> Error {
    Error::file(H5, format!("not a readable HDF5 file: {error}"))
}

pub(super) fn refuse_dataset(path: &str, error: hdf5_pure::Error) -> Error {
    let path = if path.is_empty() { "/" } else { path };
    Error::file(H5, format!("`{}` can't be read: {error}", clip(path, 200)))
}
