//! Kernels that go through their operands once.

pub(crate) mod cast;
pub(crate) mod gate;
pub(crate) mod gate_backward;
pub(crate) mod sums;
pub(crate) mod transpose;
