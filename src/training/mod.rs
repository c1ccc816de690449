//! What training adds to the layer: losses, penalties, constraints, optimizers.
//!
//! All of it computes in f32, with no atomics: the same call on the same adapter gives the same bits.

mod constraint;
mod loss;
mod optimizer;
pub(crate) mod regularizer;

#[cfg(test)]
mod tests;

pub use loss::{Loss, mean_squared_error};
pub use optimizer::{Optimizer, Parameter};
