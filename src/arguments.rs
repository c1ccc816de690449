//! Checks of arguments: type, device, shape and size.

use crate::gpu::{Gpu, Tensor};
use crate::{DType, Error, Result};

/// Fails if a storage buffer of this many words exceeds one binding.
pub(crate) fn check_binding(gpu: &Gpu, operation: &'static str, argument: &str, words: u64) -> Result<()> {
    check_limit(operation, argument, words, gpu.binding_limits().bytes)
}

/// Fails if a storage buffer of this many words exceeds the adapter's limits.
pub(crate) fn check_words(gpu: &Gpu, operation: &'static str, argument: &str, words: u64) -> Result<()> {
    check_limit(operation, argument, words, gpu.max_tensor_bytes())
}

fn check_limit(operation: &'static str, argument: &str, words: u64, limit: u64) -> Result<()> {
    let bytes = words.saturating_mul(4);
    if bytes > limit {
        return Err(Error::TooLarge { operation, argument: argument.into(), bytes, limit });
    }
    Ok(())
}

/// Fails unless the tensor is given, with this shape and type, on this device.
pub(crate) fn check_output(
    operation: &'static str,
    gpu: &Gpu,
    name: &str,
    tensor: Option<&Tensor>,
    shape: &[usize],
    dtype: DType,
) -> Result<()> {
    let expected = format!("of shape {shape:?} and type {dtype}");
    let Some(tensor) = tensor else {
        return Err(Error::argument(operation, name, expected, "None"));
    };
    if tensor.shape() != shape || tensor.dtype() != dtype {
        return Err(Error::argument(operation, name, expected, format!("{tensor:?}")));
    }
    check_device(operation, gpu, name, tensor)
}

/// Fails unless the tensor holds floats on this device.
pub(crate) fn check_float(operation: &'static str, gpu: &Gpu, name: &str, tensor: &Tensor) -> Result<()> {
    if !tensor.dtype().is_float() {
        return Err(Error::argument(operation, name, "of type f32, f16 or bf16", tensor.dtype().to_string()));
    }
    check_device(operation, gpu, name, tensor)
}

/// Fails unless the tensor is on this device.
pub(crate) fn check_device(operation: &'static str, gpu: &Gpu, name: &str, tensor: &Tensor) -> Result<()> {
    if !tensor.gpu().is(gpu) {
        let (expected, got) =
            (format!("on {gpu:?}, like the rest"), format!("on another {:?}", tensor.gpu()));
        return Err(Error::argument(operation, name, expected, got));
    }
    Ok(())
}

/// Fails unless the tensor holds floats, with this shape, on this device.
pub(crate) fn check_gradient(
    operation: &'static str,
    gpu: &Gpu,
    name: &str,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<()> {
    check_float(operation, gpu, name, tensor)?;
    if tensor.shape() != shape {
        let (expected, got) = (format!("of the output's shape {shape:?}"), format!("{:?}", tensor.shape()));
        return Err(Error::argument(operation, name, expected, got));
    }
    Ok(())
}
