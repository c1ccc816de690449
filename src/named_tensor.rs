//! Tensors by name, on the host: what safetensors files hold, and what the state of an optimizer is.

use crate::{Array, DType, Error, Result};

/// What errors call the reader of named tensors.
pub(crate) const OPERATION: &str = "safetensors";

/// A tensor with its name, such as one read from a safetensors file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// How its elements are stored.
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

/// The error about a tensor of another type than the expected.
pub(crate) fn unexpected(name: &str, expected: &str, got: &str) -> Error {
    Error::argument(OPERATION, name, format!("of dtype {expected}"), got)
}
