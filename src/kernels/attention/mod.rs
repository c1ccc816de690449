//! The kernels of attention, and their common problem: dimensions, visibility, score rule and dropout.

pub(crate) mod backward;
pub(crate) mod chained;
mod dropout;
pub(crate) mod forward;
pub(crate) mod masks;
pub(crate) mod problem;
pub(crate) mod score;
pub(crate) mod visible;
