//! Device, tensors, shaders, passes and readback. Knows no kernel.

mod adapter;
mod capabilities;
mod choices;
#[cfg(not(target_arch = "wasm32"))]
mod choices_file;
mod class;
mod context;
mod operand;
mod pass;
mod pool;
mod preprocess;
mod readback;
pub(crate) mod shader;
mod sync;
mod tensor;
mod uniforms;
mod windows;
mod workspace;

pub use adapter::{AdapterFacts, adapters};
pub use capabilities::CooperativeMatrix;
pub(crate) use capabilities::{AdapterKind, Capabilities, MatrixConfig};
pub use choices::{Choice, ChoiceSource, Tuning};
pub(crate) use class::Class;
pub use context::{Gpu, GpuUsage};
pub(crate) use operand::{element_constant, is_on, operand, result};
pub(crate) use pass::Pass;
pub(crate) use shader::{Binding, Constant, Constants, Kernel};
pub(crate) use tensor::{BufferRange, Operand};
pub use tensor::{Element, Tensor};
pub(crate) use uniforms::Parameters;
pub(crate) use workspace::Workspace;
