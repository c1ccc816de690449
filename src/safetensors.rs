//! safetensors files: tensors by name, and text beside them.

use std::{collections::HashMap, fmt, ops::Range};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::elements::{encoded, floats};
use crate::error::clip;
use crate::named_tensor::{NamedTensor, TensorData, unexpected};
use crate::{Array, DType, Error, Result, Weights};

/// The format in error messages.
pub(crate) const SAFETENSORS: &str = crate::named_tensor::OPERATION;

/// The longest header that is read, in bytes, unless a caller sets another limit.
pub(crate) const HEADER_BYTES: usize = 16 << 20;

/// What a file says about one of its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name or path.
    pub name: String,
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// Keras' name of its element type, such as `float32`.
    pub dtype: String,
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
    let header = Header::read(bytes, HEADER_BYTES)?;
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

/// A safetensors file with these tensors, each element rounded to `dtype`, and with this text beside them.
pub(crate) fn write<'a>(
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
pub(crate) struct Header {
    /// The tensors in the order of the file.
    entries: Vec<Entry>,
    /// The text beside the tensors, by key.
    pub(crate) metadata: HashMap<String, String>,
}

struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    range: Range<usize>,
}

impl Header {
    pub(crate) fn read(bytes: &[u8], header_bytes: usize) -> Result<Self> {
        let refuse = |message: String| Error::file(SAFETENSORS, message);
        let length = bytes.first_chunk().map_or(0, |&length| u64::from_le_bytes(length));
        if length > header_bytes as u64 {
            return Err(refuse(format!(
                "its first eight bytes declare a header of {length} bytes, more than the limit of {header_bytes}"
            )));
        }
        let (length, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|error| refuse(error.to_string()))?;
        let data = 8 + length;
        serde_json::from_slice::<UniqueKeys>(&bytes[8..data]).map_err(|error| refuse(error.to_string()))?;
        let entries = metadata.offset_keys().into_iter().filter_map(|name| {
            let info = metadata.info(&name)?;
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            Some(Entry { name, shape: info.shape.clone(), dtype: info.dtype, range })
        });
        let entries = entries.collect();
        Ok(Self { entries, metadata: metadata.metadata().clone().unwrap_or_default() })
    }

    pub(crate) fn tensors(&self) -> Vec<TensorInfo> {
        let info = |entry: &Entry| TensorInfo {
            name: entry.name.clone(),
            shape: entry.shape.clone(),
            dtype: keras_name(entry.dtype),
        };
        self.entries.iter().map(info).collect()
    }

    /// The tensor of a name as numbers, from the file that this header was read from.
    pub(crate) fn float(&self, bytes: &[u8], name: &str) -> Result<Option<Array<f32>>> {
        match self.entries.iter().find(|entry| entry.name == name) {
            Some(entry) => entry.read(bytes)?.into_float().map(Some),
            None => Ok(None),
        }
    }

    /// The file with other elements in the tensors of these names and shapes, each rounded to its tensor's type.
    pub(crate) fn replaced(&self, bytes: &[u8], weights: &Weights) -> Result<Vec<u8>> {
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
                        return Err(A::Error::custom(format!("`{}` occurs twice", clip(&key, 80))));
                    }
                }
                Ok(UniqueKeys)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
