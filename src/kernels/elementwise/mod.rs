//! Elementwise kernels, transposition and sums: one pass over the operands.

pub(crate) mod cast;
pub(crate) mod gate;
#[cfg(feature = "training")]
pub(crate) mod gate_backward;
#[cfg(feature = "training")]
pub(crate) mod sums;
#[cfg(feature = "training")]
pub(crate) mod transpose;
