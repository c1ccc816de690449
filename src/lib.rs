//! Grouped-query attention as a complete layer on any GPU.
mod array;
mod config;
mod dtype;
mod error;
pub mod initializers;
mod shapes;
mod training_terms;
mod weights;

pub use array::Array;
pub use config::Config;
pub use dtype::{DType, DTypePolicy};
pub use error::{Error, Result};
pub use initializers::Initializer;
pub use training_terms::{Constraint, OrthogonalMode, Regularizer};
pub use weights::{FeatureWidths, Projection, WeightSpec, Weights, weight_specs};
