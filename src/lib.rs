//! Grouped-query attention as a complete layer, with the meaning of Keras' `GroupQueryAttention`, on any GPU that wgpu
//! reaches.
//!
//! ```text
//! query [B,T,C] ─┐                         ┌ key [B,S,Ck]   value [B,S,Cv]   (key = value if not given)
//!                ▼                         ▼
//!         linear  q [B,T,H,D]      linear  k, v [B,S,Hkv,D]      (gate [B,T,H,D] = sigmoid(linear(query)), if use_gate)
//!                └────────────┬────────────┘
//!                             ▼
//!    attention: scores = q·k / √D → mask → softmax → dropout → ·v        out [B,T,H,D], lse [B,H,T]
//!                             ▼
//!                   (× gate) → linear → attention_output [B,T,C]
//! ```
//!
//! | name | meaning |
//! |---|---|
//! | B | batch size |
//! | T | query length |
//! | S | key and value length |
//! | H | query heads, `num_query_heads` |
//! | Hkv | key/value heads, `num_key_value_heads`; divides H |
//! | G | H / Hkv; query head h reads key/value head h / G |
//! | D | `head_dim` |
//! | C, Ck, Cv | feature widths of query (and output), key and value |
//!
//! Everything is row-major. Start with [`Gpu`], [`Tensor`] and [`GroupedQueryAttention`]; weights come from Keras files
//! through [`keras`], or from [`initializers`]. [`scaled_dot_product_attention`] is attention alone, and [`mod@reference`] the
//! same meaning on the CPU in f64; [`conformance`] tells whether an adapter computes that.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

/// What tests wait with.
#[cfg(all(test, target_arch = "wasm32"))]
extern crate gqa_block_on as pollster;

mod array;
mod attention;
mod attention_backward;
pub mod bench;
mod config;
pub mod conformance;
mod dropout;
mod dtype;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod files;
mod gpu;
pub mod initializers;
pub mod keras;
mod kernels;
mod layer;
mod mask;
mod matrix_units;
pub mod reference;
mod shapes;
#[cfg(test)]
#[allow(dead_code, unreachable_pub)]
mod testing;
pub mod training;
mod training_terms;
mod tuning;
mod weights;

pub use array::Array;
pub use attention::{
    AttentionOptions, AttentionOutput, AttentionPath, AttentionTensors, allocate_attention_output,
    encode_scaled_dot_product_attention, scaled_dot_product_attention, tune_scaled_dot_product_attention,
};
pub use attention_backward::{AttentionGradients, scaled_dot_product_attention_backward};
pub use config::Config;
pub use dropout::{Dropout, philox4x32_10};
pub use dtype::{DType, DTypePolicy};
pub use error::{Error, Result};
pub use gpu::{
    AdapterFacts, Choice, ChoiceSource, Element, Gpu, GpuUsage, MatrixUnits, Tensor, Tuning, adapters,
};
pub use initializers::Initializer;
pub use layer::{CallOptions, CallOutput, Gradients, GroupedQueryAttention, OutputTensors, Tape};
pub use training_terms::{Constraint, OrthogonalMode, Regularizer};
pub use tuning::forms;
pub use weights::{FeatureWidths, Projection, Shaped, WeightSpec, Weights, weight_specs};
pub use wgpu;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
