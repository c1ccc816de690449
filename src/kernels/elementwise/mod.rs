//! Elementwise kernels, transposition and sums: one pass over the operands.

pub(crate) mod cast;
pub(crate) mod gate;
pub(crate) mod gate_backward;
pub(crate) mod sums;
pub(crate) mod transpose;
