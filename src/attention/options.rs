//! The options of attention alone, and what its calls return and write to.

use crate::dropout::Dropout;
use crate::gpu::Tensor;
use crate::kernels::attention::score::Score;
use crate::{Error, Result};

/// How attention is computed. Both paths have the same semantics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionPath {
    /// FlashAttention-style: one pass over the keys with an online softmax; memory O(T).
    Fused,
    /// Scores, softmax, dropout and weighted values as separate kernels; memory O(T · S). Returns scores, and takes heads of
    /// any width.
    Chained,
}

impl AttentionPath {
    /// Both.
    pub const ALL: [AttentionPath; 2] = [AttentionPath::Fused, AttentionPath::Chained];
}

/// The options of [`scaled_dot_product_attention`](crate::scaled_dot_product_attention). The default is plain attention.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionOptions<'a> {
    /// What products are multiplied by. `None` is 1 / √D.
    pub scale: Option<f32>,
    /// Query t sees keys s ≤ t + `q_offset` only.
    pub use_causal_mask: bool,
    /// Query t sees keys with |t + `q_offset` − s| < `sliding_window` only.
    pub sliding_window: Option<usize>,
    /// Bool `[T,S]`, `[B,T,S]` or `[B,H,T,S]`; any axis may be 1. False hides a key from a query.
    pub attention_mask: Option<&'a Tensor>,
    /// Bool `[B,T]`. False hides everything from a query.
    pub query_mask: Option<&'a Tensor>,
    /// Bool `[B,S]`. False hides a key from every query.
    pub key_mask: Option<&'a Tensor>,
    /// Position of the first query among the keys.
    pub q_offset: u32,
    /// Drops probabilities, as in training.
    pub dropout: Option<Dropout>,
    /// Whether to return the probabilities, which takes memory for them: O(T · S).
    pub return_attention_scores: bool,
    /// The path to take. `None` is [`Fused`](AttentionPath::Fused) unless scores are wanted or the heads are too wide for
    /// the device; [`AttentionOutput::path`] says which.
    pub path: Option<AttentionPath>,
}

impl AttentionOptions<'_> {
    /// The score rule of these options. Fails where a number is not finite.
    pub(super) fn score(&self, operation: &'static str, head_dim: usize) -> Result<Score> {
        match self.scale {
            None => Ok(Score::of_layer(head_dim)),
            Some(scale) if scale.is_finite() => Ok(Score::scaled(scale)),
            Some(scale) => Err(Error::argument(operation, "scale", "finite", scale.to_string())),
        }
    }
}

/// What [`scaled_dot_product_attention`](crate::scaled_dot_product_attention) and its `encode` form return.
#[derive(Debug, Clone)]
pub struct AttentionOutput {
    /// `[B,T,H,D]`, in q's type.
    pub output: Tensor,
    /// ln Σ exp(score) over the keys that each query sees, −inf where there are none: `[B,H,T]` f32.
    pub lse: Tensor,
    /// Probabilities before dropout, `[B,H,T,S]` in q's type, if they were asked for.
    pub attention_scores: Option<Tensor>,
    /// The path that was taken.
    pub path: AttentionPath,
    /// The form of the fused kernel that was taken (see [`Gpu::choices`](crate::Gpu::choices)); `None` on the chained path.
    pub form: Option<&'static str>,
}

/// What [`encode_scaled_dot_product_attention`](crate::encode_scaled_dot_product_attention) writes to.
#[derive(Debug, Clone)]
pub struct AttentionTensors {
    /// `[B,T,H,D]`, in q's type.
    pub output: Tensor,
    /// `[B,H,T]` f32.
    pub lse: Tensor,
    /// `[B,H,T,S]` in q's type, needed if scores are asked for.
    pub attention_scores: Option<Tensor>,
}
