//! The oracle: grouped-query attention on the CPU, naive, unfused, in f64.
//!
//! It is written from the definition of the layer, not from the shaders, and takes the same options as the GPU's
//! [`call`](crate::GroupedQueryAttention::call). All GPU results are compared with it. [`call`] and [`attention_forward`]
//! check their arguments; their individual steps don't, and panic if shapes disagree.

mod adam;
mod attention_backward;
mod attention_delta;
mod attention_forward;
mod cast;
mod combine_splits;
mod constrain;
mod dropout;
mod fma_peak;
mod gate;
mod gate_backward;
mod l1_l2_backward;
mod layer;
mod layer_backward;
mod linear;
mod nonfinite_keys;
mod normalize;
mod normalize_backward;
mod off_diagonal_sign;
mod pack_mask;
mod regularizer;
mod scores;
mod sgd;
mod softmax;
mod squared_error_backward;
mod sums;
mod transpose;
mod weighted_values;
mod zero_nonfinite;

pub use adam::{AdamStep, adam};
pub use attention_backward::{AttentionGradients, attention_backward};
pub use attention_delta::attention_delta;
pub use attention_forward::{Attention, AttentionOptions, attention_forward};
pub use cast::cast;
pub use combine_splits::combine_splits;
pub use constrain::constrain;
pub use dropout::dropout;
pub use fma_peak::fma_peak;
pub use gate::gate;
pub use gate_backward::gate_backward;
pub use l1_l2_backward::l1_l2_backward;
pub use layer::{CallOptions, CallOutput, call};
pub use layer_backward::{Gradients, backward};
pub use linear::{gated_linear, linear, linear_backward};
pub use nonfinite_keys::nonfinite_keys;
pub use normalize::normalize;
pub use normalize_backward::normalize_backward;
pub use off_diagonal_sign::off_diagonal_sign;
pub use pack_mask::pack_mask;
pub use regularizer::{regularizer_backward, regularizer_loss};
pub use scores::{ScoreRule, Visibility, scores};
pub use sgd::{SgdStep, clip_scale, sgd};
pub use softmax::softmax;
pub use squared_error_backward::squared_error_backward;
pub use sums::sums;
pub use transpose::transpose;
pub use weighted_values::weighted_values;
pub use zero_nonfinite::zero_nonfinite;
