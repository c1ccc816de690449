//! safetensors files: the weights of one layer as `query/kernel`, `query/bias`, ..., and inputs for a layer.

use std::{collections::HashMap, fmt, ops::Range};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::{
    Limits, SAFETENSORS, TensorInfo,
    elements::{encoded, floats},
};
use crate::{Array, Config, DType, Error, Result, Weights};

/// The key of the file's metadata under which [`weights_to_safetensors`] puts the layer's configuration.
const CONFIG: &str = "keras_config";

/// A tensor read from a safetensors file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// How its elements are stored in the file.
    pub dtype: DType,
    /// Its shape and elements.
    pub data: TensorData,
}

/// The elements of a [`NamedTensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// From F32, F16 or BF16.
    Float(Array<f32>),
    /// From BOOL or U8, of which any value but zero is true.
    Mask(Array<bool>),
}

impl NamedTensor {
    /// The numbers. Fails, naming the tensor, for a mask.
    pub fn into_float(self) -> Result<Array<f32>> {
        match self.data {
            TensorData::Float(array) => Ok(array),
            TensorData::Mask(_) => Err(unexpected(&self.name, "F32, F16 or BF16", "a mask (BOOL or U8)")),
        }
    }

    /// The mask. Fails, naming the tensor, for numbers.
    pub fn into_mask(self) -> Result<Array<bool>> {
        match self.data {
            TensorData::Mask(array) => Ok(array),
            TensorData::Float(_) => {
                Err(unexpected(&self.name, "BOOL or U8 (a mask)", &self.dtype.to_string()))
            }
        }
    }
}

/// Reads every tensor of a safetensors file, in the order of the file.
///
/// Fails, naming the tensor, for a type that is neither a float of at most 32 bits nor a mask.
///
/// ```
/// use gqa::{Array, DType, keras};
///
/// let query = Array::from_fn([1, 2, 3], |i| i as f32);
/// let file = keras::write_tensors([("query", &query)], DType::F16)?;
/// let read = keras::read_tensors(&file)?;
/// assert_eq!((read[0].name.as_str(), read[0].dtype), ("query", DType::F16));
/// assert_eq!(read[0].clone().into_float()?, query);
/// # Ok::<(), gqa::Error>(())
/// ```
pub fn read_tensors(bytes: &[u8]) -> Result<Vec<NamedTensor>> {
    let header = Header::read(bytes, &Limits::default())?;
    header.entries.iter().map(|entry| entry.read(bytes)).collect()
}

/// A safetensors file with these tensors, each element rounded to `dtype` (which must be a float type).
pub fn write_tensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Array)>,
    dtype: DType,
) -> Result<Vec<u8>> {
    let tensors = tensors.into_iter().map(|(name, array)| (name.to_owned(), array));
    write(tensors, dtype, None)
}

/// A safetensors file with the weights of one layer under the names `query/kernel`, `query/bias` and so on, each element
/// rounded to `dtype`. With `config` the file also says what layer they belong to, and
/// [`ModelFile::from_bytes`](super::ModelFile::from_bytes) needs nothing else.
pub fn weights_to_safetensors(weights: &Weights, config: Option<&Config>, dtype: DType) -> Result<Vec<u8>> {
    let metadata =
        config.map(|config| HashMap::from([(CONFIG.to_owned(), config.to_keras_json().to_string())]));
    write(weights.named().into_iter(), dtype, metadata)
}

fn write<'a>(
    tensors: impl Iterator<Item = (String, &'a Array)>,
    dtype: DType,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let stored = match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
        DType::Bool => return Err(Error::argument("write_tensors", "dtype", "f32, f16 or bf16", "bool")),
    };
    let encoded: Vec<_> = tensors
        .map(|(name, array)| (name, array.shape().to_vec(), encoded(array.data(), dtype, false)))
        .collect();
    let refuse = |error| Error::file(SAFETENSORS, format!("can't be written: {error}"));
    let views =
        encoded.iter().map(|(name, shape, bytes)| Ok((name, TensorView::new(stored, shape.clone(), bytes)?)));
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(refuse)?;
    safetensors::serialize(views, metadata).map_err(refuse)
}

/// What the start of a file says about it, checked against the file's length.
pub(super) struct Header {
    /// The tensors in the order of the file.
    entries: Vec<Entry>,
    /// The configuration that the file carries.
    pub(super) config: Option<String>,
}

struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    range: Range<usize>,
}

impl Header {
    pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let refuse = |message: String| Error::file(SAFETENSORS, message);
        let length = bytes.first_chunk().map_or(0, |&length| u64::from_le_bytes(length));
        if length > limits.json_bytes as u64 {
            return Err(refuse(format!(
                "its first eight bytes declare a header of {length} bytes, more than the limit of {}",
                limits.json_bytes
            )));
        }
        let (length, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|error| refuse(error.to_string()))?;
        let data = 8 + length;
        serde_json::from_slice::<UniqueKeys>(&bytes[8..data]).map_err(|error| refuse(error.to_string()))?;
        let config = metadata.metadata().as_ref().and_then(|map| map.get(CONFIG)).cloned();
        let entries = metadata.offset_keys().into_iter().filter_map(|name| {
            let info = metadata.info(&name)?;
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            Some(Entry { name, shape: info.shape.clone(), dtype: info.dtype, range })
        });
        Ok(Self { entries: entries.collect(), config })
    }

    pub(super) fn tensors(&self) -> Vec<TensorInfo> {
        let info = |entry: &Entry| TensorInfo {
            name: entry.name.clone(),
            shape: entry.shape.clone(),
            dtype: keras_name(entry.dtype),
        };
        self.entries.iter().map(info).collect()
    }

    /// The tensor of a name as numbers, from the file that this header was read from.
    pub(super) fn float(&self, bytes: &[u8], name: &str) -> Result<Option<Array<f32>>> {
        match self.entries.iter().find(|entry| entry.name == name) {
            Some(entry) => entry.read(bytes)?.into_float().map(Some),
            None => Ok(None),
        }
    }

    /// The file with other elements in the tensors of these names and shapes, each rounded to its tensor's type.
    pub(super) fn replaced(&self, bytes: &[u8], weights: &Weights) -> Result<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        for (name, array) in weights.named() {
            let entry = self.entries.iter().find(|entry| entry.name == name);
            let dtype = match entry.map(|entry| entry.dtype) {
                Some(Dtype::F32) => DType::F32,
                Some(Dtype::F16) => DType::F16,
                Some(Dtype::BF16) => DType::Bf16,
                other => {
                    let got = other.map_or("nothing".into(), keras_name);
                    return Err(unexpected(&name, "F32, F16 or BF16", &got));
                }
            };
            let new = encoded(array.data(), dtype, false);
            match entry.and_then(|entry| bytes.get_mut(entry.range.clone())) {
                Some(old) if old.len() == new.len() => old.copy_from_slice(&new),
                _ => {
                    return Err(Error::file(SAFETENSORS, format!("`{name}` has not the bytes of its shape")));
                }
            }
        }
        Ok(bytes)
    }
}

impl Entry {
    fn read(&self, file: &[u8]) -> Result<NamedTensor> {
        let Self { name, shape, dtype, range } = self;
        let bytes = file.get(range.clone()).unwrap_or_default();
        let float =
            |dtype| Ok((dtype, TensorData::Float(Array::new(shape.clone(), floats(bytes, dtype, false))?)));
        let (dtype, data) = match dtype {
            Dtype::F32 => float(DType::F32)?,
            Dtype::F16 => float(DType::F16)?,
            Dtype::BF16 => float(DType::Bf16)?,
            Dtype::BOOL | Dtype::U8 => {
                let mask = bytes.iter().map(|&byte| byte != 0).collect::<Vec<_>>();
                (DType::Bool, TensorData::Mask(Array::new(shape.clone(), mask)?))
            }
            other => return Err(unexpected(name, "F32, F16, BF16, BOOL or U8", &other.to_string())),
        };
        Ok(NamedTensor { name: name.clone(), dtype, data })
    }
}

fn unexpected(name: &str, expected: &str, got: &str) -> Error {
    Error::argument(SAFETENSORS, name, format!("of dtype {expected}"), got)
}

/// Keras' name of an element type.
fn keras_name(dtype: Dtype) -> String {
    match dtype {
        Dtype::BF16 => "bfloat16".into(),
        Dtype::BOOL => "bool".into(),
        other => {
            let name = other.to_string();
            match (name.split_at_checked(1), name.get(1..).is_some_and(|bits| bits.parse::<u8>().is_ok())) {
                (Some(("F", bits)), true) => format!("float{bits}"),
                (Some(("I", bits)), true) => format!("int{bits}"),
                (Some(("U", bits)), true) => format!("uint{bits}"),
                _ => name.to_lowercase(),
            }
        }
    }
}

/// A JSON object no key of which occurs twice: the parser behind safetensors would take the last without a word.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = UniqueKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
                let mut seen = std::collections::HashSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if let Some(key) = seen.replace(key) {
                        return Err(A::Error::custom(format!(
                            "`{}` occurs twice",
                            super::json::clip(&key, 80)
                        )));
                    }
                }
                Ok(UniqueKeys)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
