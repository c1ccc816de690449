//! Kernels that go through their operands once.

pub(crate) mod cast;
pub(crate) mod gate;
#[cfg(feature = "training")]
pub(crate) mod gate_backward;
#[cfg(feature = "training")]
pub(crate) mod sums;
#[cfg(feature = "training")]
pub(crate) mod transpose;
