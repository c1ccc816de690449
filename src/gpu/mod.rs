//! The GPU side: device, tensors, kernels, readback. Nothing here knows attention.

mod adapter;
mod choices;
#[cfg(not(target_arch = "wasm32"))]
mod choices_file;
mod context;
pub(crate) mod kernel;
mod matrix_units;
mod operand;
mod pool;
mod readback;
mod tensor;
mod uniforms;
mod unroll;
mod windows;

pub use adapter::{AdapterFacts, adapters};
pub use choices::{Choice, ChoiceSource, Tuning};
pub(crate) use choices::{Class, ClassShape, size_class};
pub use context::{Gpu, GpuUsage};
pub(crate) use kernel::{Binding, Constant, Constants, Kernel, Pass};
pub use matrix_units::MatrixUnits;
pub(crate) use matrix_units::Units;
pub(crate) use operand::{element_constant, is_on, operand, result};
pub(crate) use pool::Workspace;
pub(crate) use tensor::Slot;
pub use tensor::{Element, Tensor};
pub(crate) use uniforms::Parameters;
