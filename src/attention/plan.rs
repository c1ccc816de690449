//! The plan of a run of attention: its checked arguments. Tuning and recording both read it.

use super::AttentionPath;
use super::masks::{AttentionMasks, MaskLayout};
use crate::arguments::{check_binding, check_words};
use crate::dropout::Dropout;
use crate::gpu::{Gpu, Tuning};
use crate::kernels::attention::chained::softmax;
use crate::kernels::attention::forward::{Forward, forms};
use crate::kernels::attention::problem::Problem;
use crate::kernels::attention::score::Score;
use crate::kernels::attention::visible::Visibility;
use crate::shapes::Dims;
use crate::tuning;
use crate::{DType, Error, Result};

/// The arguments of a run of attention other than its operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionArguments<'a> {
    pub(crate) dims: Dims,
    /// The types of q, k and v.
    pub(crate) types: [DType; 3],
    /// Whether the caller's data are f16, so that operands held in f32 may be rounded to it.
    pub(crate) half: bool,
    pub(crate) score: Score,
    pub(crate) causal: bool,
    pub(crate) sliding_window: Option<usize>,
    /// Position of the first query among the keys.
    pub(crate) q_offset: u32,
    pub(crate) masks: AttentionMasks<'a>,
    pub(crate) dropout: Option<Dropout>,
    /// Whether to return scores.
    pub(crate) scores: bool,
    /// The path that the caller requested.
    pub(crate) path: Option<AttentionPath>,
}

/// A run of attention: its problem, the layout of its masks, and its path.
#[derive(Debug, Clone)]
pub(crate) struct AttentionPlan<'a> {
    pub(crate) operation: &'static str,
    pub(crate) problem: Problem,
    pub(crate) masks: MaskLayout<'a>,
    pub(crate) path: AttentionPath,
    /// Whether to return scores.
    pub(crate) scores: bool,
    types: [DType; 3],
    half: bool,
}

impl<'a> AttentionPlan<'a> {
    /// Checks the arguments.
    pub(crate) fn new(
        operation: &'static str,
        gpu: &Gpu,
        arguments: &AttentionArguments<'a>,
    ) -> Result<Self> {
        let AttentionArguments { dims, types, half, causal, q_offset, score, dropout, scores, .. } =
            *arguments;
        // Distances between positions fit u32, so a wider window has no effect.
        let window = arguments.sliding_window.map_or(0, |window| u32::try_from(window).unwrap_or(u32::MAX));
        let positions = Visibility::of_positions(causal, q_offset, window);
        let masks = MaskLayout::new(operation, gpu, arguments.masks, positions, &dims)?;
        let last_position = u64::from(q_offset) + dims.query_len as u64;
        if u32::try_from(last_position).is_err() {
            let expected = "below 2^32 with T added";
            return Err(Error::argument(operation, "q_offset", expected, last_position.to_string()));
        }
        if arguments.sliding_window == Some(0) {
            return Err(Error::argument(operation, "sliding_window", "None or a positive integer", "0"));
        }
        if let Some(dropout) = &dropout {
            dropout.check(operation)?;
        }
        let path = choose_path(operation, gpu, &dims, arguments.path, scores)?;
        check_sizes(operation, gpu, &dims, path, scores)?;
        let mut plan = Self {
            operation,
            problem: Problem { dims, visibility: masks.visibility, score, dropout },
            masks,
            path,
            scores,
            types,
            half,
        };
        if path == AttentionPath::Fused && plan.problem.may_hide() {
            plan.masks = plan.masks.with_nonfinite_keys(&dims);
            plan.problem.visibility = plan.masks.visibility;
        }
        Ok(plan)
    }

    /// The problem of the fused kernel.
    pub(super) fn forward(&self) -> Forward {
        Forward { problem: self.problem, types: self.types, half: self.half }
    }

    /// Measures the forms of the fused kernel, if the run takes it, tuning is on and they are not measured yet.
    pub(crate) async fn tune(&self, gpu: &Gpu) -> Result<()> {
        if self.path != AttentionPath::Fused {
            return Ok(());
        }
        let forward = self.forward();
        if forward.may_use_matrices() && gpu.tuning() == Tuning::On {
            gpu.test_cooperative_matrix().await?;
        }
        tuning::tune(&forward, gpu).await
    }
}

/// The path of a call. Fails if the requested one can't be taken.
fn choose_path(
    operation: &'static str,
    gpu: &Gpu,
    dims: &Dims,
    wanted: Option<AttentionPath>,
    scores: bool,
) -> Result<AttentionPath> {
    let fits = forms::default_form(dims, &gpu.capabilities(None)).is_some();
    let reason = match wanted {
        Some(AttentionPath::Fused) if scores => "without return_attention_scores",
        Some(AttentionPath::Fused) if !fits => "for heads that fit this device's workgroup memory",
        Some(AttentionPath::Fused) => return Ok(AttentionPath::Fused),
        None if fits && !scores => return Ok(AttentionPath::Fused),
        _ if dims.key_len > softmax::MAX_KEYS => {
            let (expected, got) =
                (format!("at most {} for the chained path", softmax::MAX_KEYS), dims.key_len);
            return Err(Error::argument(operation, "key length", expected, got.to_string()));
        }
        _ => return Ok(AttentionPath::Chained),
    };
    Err(Error::argument(
        operation,
        "path",
        format!("Fused only {reason}"),
        format!("Fused, head_dim {}", dims.head_dim),
    ))
}

/// The maximum words of probabilities per range of queries, where the adapter allows more.
pub(super) const PROBS_WORDS: u64 = 32 << 20;

/// Fails if an intermediate of this path exceeds the adapter's limits.
fn check_sizes(
    operation: &'static str,
    gpu: &Gpu,
    dims: &Dims,
    path: AttentionPath,
    scores: bool,
) -> Result<()> {
    let product =
        |factors: &[usize]| factors.iter().fold(1u64, |product, &n| product.saturating_mul(n as u64));
    let &Dims { batch: b, query_len: t, key_len: s, query_heads: h, head_dim: d, .. } = dims;
    check_words(gpu, operation, "out", product(&[b, t, h, d]))?;
    match path {
        AttentionPath::Fused => check_binding(gpu, operation, "lse", product(&[b, h, t, 2])),
        AttentionPath::Chained => {
            // The chained kernels bind each operand whole.
            let hkv = dims.key_heads;
            check_binding(gpu, operation, "out", product(&[b, t, h, d]))?;
            check_binding(gpu, operation, "key", product(&[b, s, hkv, d]))?;
            let (name, queries) =
                if scores { ("attention_scores", t) } else { ("attention scores of one query", 1) };
            check_binding(gpu, operation, name, product(&[b, h, queries, s]))
        }
    }
}
