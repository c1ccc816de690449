//! The GPU side: device, tensors, kernels, readback. Nothing here knows attention.

mod adapter;
mod context;
pub(crate) mod kernel;
mod pool;
mod readback;
mod tensor;

pub use adapter::{AdapterFacts, adapters};
pub use context::{Gpu, GpuUsage};
pub(crate) use kernel::{Binding, Constant, Kernel, Pass};
pub(crate) use pool::Workspace;
pub(crate) use tensor::Slot;
pub use tensor::{Element, Tensor};
