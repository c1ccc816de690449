//! Options, results and output tensors of attention alone.

use crate::dropout::Dropout;
use crate::gpu::Tensor;
use crate::kernels::attention::score::Score;
use crate::{Error, Result};

/// How attention is computed. Both paths have the same semantics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionPath {
    /// FlashAttention-style: one pass over the keys with an online softmax; memory O(T).
    Fused,
    /// Scores, softmax, dropout and weighted values as separate kernels; memory O(T · S). Supports returned scores and heads
    /// of any width.
    Chained,
}

impl AttentionPath {
    /// Both.
    pub const ALL: [AttentionPath; 2] = [AttentionPath::Fused, AttentionPath::Chained];
}

/// The options of [`scaled_dot_product_attention`](crate::scaled_dot_product_attention). The default is plain attention.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionOptions<'a> {
    /// The factor of products q·k. `None` is 1 / √D.
    pub scale: Option<f32>,
    /// Query t sees only keys s ≤ t + `q_offset`.
    pub use_causal_mask: bool,
    /// Query t sees only keys with |t + `q_offset` − s| < `sliding_window`.
    pub sliding_window: Option<usize>,
    /// Bool `[T,S]`, `[B,T,S]` or `[B,H,T,S]`; any axis may be 1. False hides a key from a query.
    pub attention_mask: Option<&'a Tensor>,
    /// Bool `[B,T]`. False hides every key from a query.
    pub query_mask: Option<&'a Tensor>,
    /// Bool `[B,S]`. False hides a key from every query.
    pub key_mask: Option<&'a Tensor>,
    /// Position of the first query among the keys.
    pub q_offset: u32,
    /// Drops probabilities, as in training.
    pub dropout: Option<Dropout>,
    /// Whether to return the probabilities, which takes O(T · S) memory.
    pub return_attention_scores: bool,
    /// The path to take. `None` is [`Fused`](AttentionPath::Fused), or [`Chained`](AttentionPath::Chained) if scores are
    /// returned or the heads are too wide for the device; [`AttentionOutput::path`] tells which one ran.
    pub path: Option<AttentionPath>,
}

impl AttentionOptions<'_> {
    /// The score rule of these options. Fails if a number is not finite.
    pub(super) fn score(&self, operation: &'static str, head_dim: usize) -> Result<Score> {
        match self.scale {
            None => Ok(Score::of_layer(head_dim)),
            Some(scale) if scale.is_finite() => Ok(Score::scaled(scale)),
            Some(scale) => Err(Error::argument(operation, "scale", "finite", scale.to_string())),
        }
    }
}

/// Results of [`scaled_dot_product_attention`](crate::scaled_dot_product_attention) and its `encode` form.
#[derive(Debug, Clone)]
pub struct AttentionOutput {
    /// `[B,T,H,D]`, in q's type.
    pub output: Tensor,
    /// ln Σ exp(score) over the keys that each query sees, −inf if it sees none: `[B,H,T]` f32.
    pub lse: Tensor,
    /// Probabilities before dropout, `[B,H,T,S]` in q's type, if they were requested.
    pub attention_scores: Option<Tensor>,
    /// The path that was taken.
    pub path: AttentionPath,
    /// The form of the fused kernel (see [`Gpu::choices`](crate::Gpu::choices)); `None` on the chained path.
    pub form: Option<&'static str>,
}

/// Output tensors of [`encode_scaled_dot_product_attention`](crate::encode_scaled_dot_product_attention).
#[derive(Debug, Clone)]
pub struct AttentionTensors {
    /// `[B,T,H,D]`, in q's type.
    pub output: Tensor,
    /// `[B,H,T]` f32.
    pub lse: Tensor,
    /// `[B,H,T,S]` in q's type; required if scores are requested.
    pub attention_scores: Option<Tensor>,
}
