//! Attention alone, for those who project themselves, and the two paths that the layer shares with it:
//!
//! ```text
//! fused    attention_forward
//! chained  scores = scale · q·k where visible, else −inf → softmax → dropout → weighted_values
//! ```

use crate::dropout::Dropout;
use crate::gpu::{Gpu, Pass, Slot, Tensor, Workspace};
use crate::kernels::{attention_forward, cast, check_words, dropout, scores, softmax, weighted_values};
use crate::mask::{Masks, Visibility};
use crate::shapes::{Dims, Queries};
use crate::{DType, Error, Result};

/// The two ways to the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionPath {
    /// One pass over the keys with an online softmax; memory O(T).
    Fused,
    /// Scores, softmax, dropout and weighted values one after the other. It gives scores, and is quicker for few queries.
    Chained,
}

/// The options of [`scaled_dot_product_attention`]. The default is plain attention.
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
    /// The path to take. `None` is [`Fused`](AttentionPath::Fused) unless scores are wanted, queries are few, or the heads
    /// are too wide for the device; [`AttentionOutput::path`] says which.
    pub path: Option<AttentionPath>,
}

/// What [`scaled_dot_product_attention`] returns.
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
}

/// `softmax(scale · q·kᵀ, where visible) · v` for q `[B,T,H,D]`, k and v `[B,S,Hkv,D]`, H divisible by Hkv. Query head h
/// reads key/value head h / (H / Hkv).
///
/// A query that sees no key gives 0. The commands are submitted, not waited for.
///
/// ```
/// # pollster::block_on(async {
/// let gpu = gqa::Gpu::from_env().await?;
/// let q = gqa::Tensor::from_slice(&gpu, [1, 3, 4, 8], &[0.5f32; 96]).await?;
/// let kv = gqa::Tensor::from_slice(&gpu, [1, 5, 2, 8], &[2.0f32; 80]).await?;
/// let options = gqa::AttentionOptions { use_causal_mask: true, ..Default::default() };
/// let attention = gqa::scaled_dot_product_attention(&q, &kv, &kv, &options).await?;
/// assert_eq!(attention.output.shape(), [1, 3, 4, 8]);
/// assert!(attention.output.to_vec::<f32>().await?.iter().all(|x| (x - 2.0).abs() < 1e-5));
/// # Ok::<(), gqa::Error>(()) }).unwrap();
/// ```
pub async fn scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &AttentionOptions<'_>,
) -> Result<AttentionOutput> {
    const OPERATION: &str = "scaled_dot_product_attention";
    let gpu = q.gpu();
    let dims = Dims::of_heads(OPERATION, q.shape(), k.shape(), v.shape())?;
    for (name, tensor) in [("q", q), ("k", k), ("v", v)] {
        check_float(OPERATION, gpu, name, tensor)?;
    }
    let masks = Masks {
        attention_mask: options.attention_mask,
        query_mask: options.query_mask,
        value_mask: None,
        key_mask: options.key_mask,
        causal: options.use_causal_mask,
        q_offset: options.q_offset,
        sliding_window: options.sliding_window,
    };
    masks.check(OPERATION, gpu, &dims)?;
    if let Some(dropout) = &options.dropout {
        dropout.check(OPERATION)?;
    }
    let scale = options.scale.unwrap_or_else(|| default_scale(dims.head_dim));
    if !scale.is_finite() {
        return Err(Error::argument(OPERATION, "scale", "finite", scale.to_string()));
    }
    let path = choose_path(OPERATION, gpu, &dims, options.path, options.return_attention_scores)?;
    check_sizes(OPERATION, gpu, &dims, path, options.return_attention_scores)?;
    gpu.checked(OPERATION, || {
        let dtype = q.dtype();
        let new = |shape: Vec<usize>, dtype| Tensor::allocate(gpu, OPERATION, shape, dtype, false);
        let output = new(q.shape().to_vec(), dtype)?;
        let lse = new(vec![dims.batch, dims.query_heads, dims.query_len], DType::F32)?;
        let scores = options.return_attention_scores.then(|| new(dims.scores_shape(), dtype)).transpose()?;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = Pass::begin(gpu, &mut encoder);
        let count = q.shape().iter().product();
        let out = Workspace::new(gpu, "out", count as u64);
        let attention = Attention {
            operation: OPERATION,
            dims,
            path,
            q: (q.slot(), dtype),
            k: (k.slot(), k.dtype()),
            v: (v.slot(), v.dtype()),
            masks,
            scale,
            dropout: options.dropout,
            scores: scores.as_ref(),
            lse: Some(lse.slot()),
            out: out.slot(),
        };
        attention.encode(&mut pass)?;
        cast::cast(&mut pass, (out.slot(), DType::F32), (output.slot(), dtype), count)?;
        drop(pass);
        gpu.queue().submit([encoder.finish()]);
        Ok(AttentionOutput { output, lse, attention_scores: scores, path })
    })
    .await
}

/// Fewer rows (query, head of a group) than this leave most lanes of the fused kernel idle.
const FEW_ROWS: usize = 16;

/// The path of a call. Fails where the one asked for can't be taken.
pub(crate) fn choose_path(
    operation: &'static str,
    gpu: &Gpu,
    dims: &Dims,
    wanted: Option<AttentionPath>,
    scores: bool,
) -> Result<AttentionPath> {
    let fits = attention_forward::fits(dims.head_dim, gpu.limits());
    let too_long = dims.key_len > softmax::MAX_KEYS;
    let reason = match wanted {
        Some(AttentionPath::Fused) if scores => "without return_attention_scores",
        Some(AttentionPath::Fused) if !fits => "for heads that fit this device's workgroup memory",
        Some(AttentionPath::Fused) => return Ok(AttentionPath::Fused),
        None if fits && !scores && (too_long || dims.query_len * dims.group_size() >= FEW_ROWS) => {
            return Ok(AttentionPath::Fused);
        }
        _ if too_long => {
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

/// 1 / √D.
pub(crate) fn default_scale(head_dim: usize) -> f32 {
    (1.0 / (head_dim as f64).sqrt()) as f32
}

/// Fails unless the tensor holds floats on this device.
pub(crate) fn check_float(operation: &'static str, gpu: &Gpu, name: &str, tensor: &Tensor) -> Result<()> {
    if !tensor.dtype().is_float() {
        return Err(Error::argument(operation, name, "of type f32, f16 or bf16", tensor.dtype().to_string()));
    }
    check_device(operation, gpu, name, tensor)
}

/// Fails unless the tensor is on this device.
pub(crate) fn check_device(operation: &'static str, gpu: &Gpu, name: &str, tensor: &Tensor) -> Result<()> {
    if !tensor.gpu().is(gpu) {
        let (expected, got) =
            (format!("on {gpu:?}, like the rest"), format!("on another {:?}", tensor.gpu()));
        return Err(Error::argument(operation, name, expected, got));
    }
    Ok(())
}

/// One run of attention. Everything in it has been checked.
pub(crate) struct Attention<'a> {
    pub(crate) operation: &'static str,
    pub(crate) dims: Dims,
    pub(crate) path: AttentionPath,
    /// `[B,T,H,D]`
    pub(crate) q: (Slot<'a>, DType),
    /// `[B,S,Hkv,D]`
    pub(crate) k: (Slot<'a>, DType),
    /// `[B,S,Hkv,D]`
    pub(crate) v: (Slot<'a>, DType),
    pub(crate) masks: Masks<'a>,
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
    /// Takes the probabilities before dropout: `[B,H,T,S]`.
    pub(crate) scores: Option<&'a Tensor>,
    /// `[B,H,T]` f32
    pub(crate) lse: Option<Slot<'a>>,
    /// `[B,T,H,D]` f32
    pub(crate) out: Slot<'a>,
}

/// The most words of probabilities that one pass over the queries makes, where the adapter allows more.
const PROBS_WORDS: u64 = 32 << 20;

/// Fails where an intermediate of this path would be larger than the adapter allows.
pub(crate) fn check_sizes(
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
        AttentionPath::Fused => check_words(gpu, operation, "state", attention_forward::state_words(dims)),
        AttentionPath::Chained if scores => {
            check_words(gpu, operation, "attention_scores", product(&[b, h, t, s]))
        }
        AttentionPath::Chained => {
            check_words(gpu, operation, "attention scores of one query", product(&[b, h, s]))
        }
    }
}

impl Attention<'_> {
    pub(crate) fn encode(&self, pass: &mut Pass<'_>) -> Result<()> {
        let (gpu, dims) = (pass.gpu(), &self.dims);
        let own_lse;
        let lse = match self.lse {
            Some(lse) => lse,
            None => {
                let words = (dims.batch * dims.query_heads * dims.query_len) as u64;
                own_lse = Workspace::new(gpu, "lse", words);
                own_lse.slot()
            }
        };
        let (visibility, mask_bits) = self.masks.pack(self.operation, pass, dims)?;
        let masks = (visibility, mask_bits.slot());
        match self.path {
            AttentionPath::Fused => self.encode_fused(pass, masks, lse),
            AttentionPath::Chained => self.encode_chained(pass, masks, lse),
        }
    }

    fn encode_fused(&self, pass: &mut Pass<'_>, masks: (Visibility, Slot<'_>), lse: Slot<'_>) -> Result<()> {
        let (gpu, dims) = (pass.gpu(), &self.dims);
        let state = Workspace::new(gpu, "state", attention_forward::state_words(dims));
        let operands = attention_forward::AttentionForward {
            q: self.q,
            k: self.k,
            v: self.v,
            masks,
            scale: self.scale,
            dropout: self.dropout,
            out: self.out,
            lse,
            state: state.slot(),
        };
        attention_forward::attention_forward(pass, dims, &operands)
    }

    /// The ranges of queries that are run one after the other, so that their probabilities fit the adapter; all at once if
    /// scores are wanted. [`check_sizes`] has seen to it that this can be.
    fn query_ranges(&self, gpu: &Gpu) -> Vec<Queries> {
        if self.scores.is_some() {
            return vec![Queries { begin: 0, count: self.dims.query_len }];
        }
        let one_query = (self.dims.batch * self.dims.query_heads * self.dims.key_len) as u64;
        let most = (gpu.max_tensor_bytes() / 4).min(PROBS_WORDS).max(one_query);
        self.dims.query_ranges(most).into_iter().flatten().collect()
    }

    fn encode_chained(
        &self,
        pass: &mut Pass<'_>,
        masks: (Visibility, Slot<'_>),
        lse: Slot<'_>,
    ) -> Result<()> {
        let (gpu, dims) = (pass.gpu(), &self.dims);
        let ranges = self.query_ranges(gpu);
        let rows = (dims.batch * dims.query_heads) as u64; // B·H
        let longest = ranges.iter().map(|queries| queries.count).max().unwrap_or(0);
        let probs = Workspace::new(gpu, "probs", rows * longest as u64 * dims.key_len as u64);

        for queries in ranges {
            let (q, k, scale) = (self.q, self.k, self.scale);
            let operands = scores::Scores { queries, q, k, masks, scale, scores: probs.slot() };
            scores::scores(pass, dims, &operands)?;
            softmax::softmax(pass, dims, queries, probs.slot(), lse)?;
            if let Some(scores) = self.scores {
                let count = scores.shape().iter().product();
                cast::cast(pass, (probs.slot(), DType::F32), (scores.slot(), scores.dtype()), count)?;
            }
            if let Some(dropout) = &self.dropout {
                dropout::dropout(pass, dims, queries, dropout, probs.slot())?;
            }
            weighted_values::weighted_values(pass, dims, queries, probs.slot(), self.v, self.out)?;
        }
        Ok(())
    }
}
