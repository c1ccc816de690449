//! Attention alone, for callers with already projected q, k and v, and the two paths that the layer shares with it:
//!
//! ```text
//! fused    attention_forward
//! chained  scores = scale · q·k where visible, else −inf → softmax → dropout → weighted_values
//! ```

use crate::dropout::Dropout;
use crate::gpu::{Gpu, Pass, Slot, Tensor, Workspace};
use crate::kernels::{
    attention_forward, cast, check_binding, check_words, dropout, scores, softmax, weighted_values,
};
use crate::mask::{Masks, Visibility};
use crate::shapes::{Dims, Queries};
use crate::{DType, Error, Result};

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
    /// The path to take. `None` is [`Fused`](AttentionPath::Fused) unless scores are wanted or the heads are too wide for
    /// the device; [`AttentionOutput::path`] says which.
    pub path: Option<AttentionPath>,
}

/// What [`scaled_dot_product_attention`] and its `encode` form return.
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
    /// The form of the fused kernel that was taken (see [`Gpu::choices`]); `None` on the chained path.
    pub form: Option<&'static str>,
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
    let plan = Plan::new(OPERATION, q, k, v, options)?;
    if let Some(shape) = plan.shape()? {
        shape.tune(q.gpu()).await?;
    }
    q.gpu().submit(OPERATION, |pass| plan.record(pass, &plan.allocate()?)).await
}

/// What [`encode_scaled_dot_product_attention`] writes to.
#[derive(Debug, Clone)]
pub struct AttentionTensors {
    /// `[B,T,H,D]`, in q's type.
    pub output: Tensor,
    /// `[B,H,T]` f32.
    pub lse: Tensor,
    /// `[B,H,T,S]` in q's type, needed if scores are asked for.
    pub attention_scores: Option<Tensor>,
}

/// Tensors for [`encode_scaled_dot_product_attention`] to write to, for these arguments. They can be used again.
pub async fn allocate_attention_output(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &AttentionOptions<'_>,
) -> Result<AttentionTensors> {
    let plan = Plan::new(OPERATION, q, k, v, options)?;
    q.gpu().checked(OPERATION, || plan.allocate()).await
}

/// Measures the forms of the kernel that a call with these arguments takes, if that has not been done and
/// [tuning](crate::Tuning) is on. [`scaled_dot_product_attention`] does so by itself;
/// [`encode_scaled_dot_product_attention`] can't.
pub async fn tune_scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &AttentionOptions<'_>,
) -> Result<()> {
    match Plan::new(OPERATION, q, k, v, options)?.shape()? {
        Some(shape) => shape.tune(q.gpu()).await,
        None => Ok(()),
    }
}

/// Records what [`scaled_dot_product_attention`] does into the caller's encoder: nothing is submitted, nothing waited for.
/// Results go to `output`, which must not overlap the inputs.
///
/// Arguments are checked before anything is recorded. What wgpu itself finds wrong, such as memory that runs out,
/// goes to the error scope or handler of the caller, who should [`trim`](Gpu::trim) then.
pub fn encode_scaled_dot_product_attention(
    encoder: &mut wgpu::CommandEncoder,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &AttentionOptions<'_>,
    output: &AttentionTensors,
) -> Result<AttentionOutput> {
    let gpu = q.gpu();
    gpu.check()?;
    let plan = Plan::new(OPERATION, q, k, v, options)?;
    let dims = &plan.dims;
    let lse_shape = vec![dims.batch, dims.query_heads, dims.query_len];
    check_output(OPERATION, gpu, "output.output", Some(&output.output), q.shape(), q.dtype())?;
    check_output(OPERATION, gpu, "output.lse", Some(&output.lse), &lse_shape, DType::F32)?;
    if options.return_attention_scores {
        let scores = output.attention_scores.as_ref();
        check_output(OPERATION, gpu, "output.attention_scores", scores, &dims.scores_shape(), q.dtype())?;
    }
    for tensor in [q, k, v, &output.output, &output.lse] {
        tensor.lend();
    }
    plan.masks.lend();
    output.attention_scores.iter().for_each(Tensor::lend);
    plan.record(&mut Pass::begin(gpu, encoder), output)
}

/// Fails unless there is a tensor of this shape and type, on this device.
pub(crate) fn check_output(
    operation: &'static str,
    gpu: &Gpu,
    name: &str,
    tensor: Option<&Tensor>,
    shape: &[usize],
    dtype: DType,
) -> Result<()> {
    let expected = format!("of shape {shape:?} and type {dtype}");
    let Some(tensor) = tensor else {
        return Err(Error::argument(operation, name, expected, "None"));
    };
    if tensor.shape() != shape || tensor.dtype() != dtype {
        return Err(Error::argument(operation, name, expected, format!("{tensor:?}")));
    }
    check_device(operation, gpu, name, tensor)
}

const OPERATION: &str = "scaled_dot_product_attention";

/// Attention alone with arguments that have been checked.
pub(crate) struct Plan<'a> {
    q: &'a Tensor,
    k: &'a Tensor,
    v: &'a Tensor,
    pub(crate) dims: Dims,
    pub(crate) masks: Masks<'a>,
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
    scores: bool,
    path: AttentionPath,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        operation: &'static str,
        q: &'a Tensor,
        k: &'a Tensor,
        v: &'a Tensor,
        options: &AttentionOptions<'a>,
    ) -> Result<Self> {
        let gpu = q.gpu();
        let dims = Dims::of_heads(operation, q.shape(), k.shape(), v.shape())?;
        for (name, tensor) in [("q", q), ("k", k), ("v", v)] {
            check_float(operation, gpu, name, tensor)?;
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
        masks.check(operation, gpu, &dims)?;
        if let Some(dropout) = &options.dropout {
            dropout.check(operation)?;
        }
        let scale = options.scale.unwrap_or_else(|| default_scale(dims.head_dim));
        if !scale.is_finite() {
            return Err(Error::argument(operation, "scale", "finite", scale.to_string()));
        }
        let scores = options.return_attention_scores;
        let path = choose_path(operation, gpu, &dims, options.path, scores)?;
        check_sizes(operation, gpu, &dims, path, scores)?;
        Ok(Self { q, k, v, dims, masks, scale, dropout: options.dropout, scores, path })
    }

    /// Whether q, k and v are f16.
    fn is_half(&self) -> bool {
        [self.q, self.k, self.v].iter().all(|tensor| tensor.dtype() == DType::F16)
    }

    /// What the fused kernel is chosen by, if the path is the fused one.
    fn shape(&self) -> Result<Option<attention_forward::Shape>> {
        if self.path == AttentionPath::Chained {
            return Ok(None);
        }
        Ok(Some(attention_forward::Shape {
            dims: self.dims,
            types: [self.q.dtype(), self.k.dtype(), self.v.dtype()],
            visibility: self.masks.visibility(OPERATION, &self.dims)?,
            dropout: self.dropout.is_some(),
            half: self.is_half(),
        }))
    }

    /// To be called under an error scope.
    fn allocate(&self) -> Result<AttentionTensors> {
        let (gpu, dims, dtype) = (self.q.gpu(), &self.dims, self.q.dtype());
        let new = |shape: Vec<usize>, dtype| Tensor::output(gpu, OPERATION, shape, dtype);
        Ok(AttentionTensors {
            output: new(self.q.shape().to_vec(), dtype)?,
            lse: new(vec![dims.batch, dims.query_heads, dims.query_len], DType::F32)?,
            attention_scores: self.scores.then(|| new(dims.scores_shape(), dtype)).transpose()?,
        })
    }

    fn record(&self, pass: &mut Pass<'_>, output: &AttentionTensors) -> Result<AttentionOutput> {
        let dtype = self.q.dtype();
        let count = self.q.shape().iter().product();
        let wide = (dtype != DType::F32).then(|| pass.workspace("out", count as u64));
        let scores = output.attention_scores.as_ref().filter(|_| self.scores);
        let out = wide.as_ref().map_or(output.output.slot(), Workspace::slot);
        let attention = Attention {
            operation: OPERATION,
            dims: self.dims,
            path: self.path,
            q: (self.q.slot(), dtype),
            k: (self.k.slot(), self.k.dtype()),
            v: (self.v.slot(), self.v.dtype()),
            half: self.is_half(),
            masks: self.masks,
            scale: self.scale,
            dropout: self.dropout,
            scores,
            lse: output.lse.slot(),
            out,
        };
        let form = attention.encode(pass)?.form;
        if wide.is_some() {
            cast::cast(pass, (out, DType::F32), (output.output.slot(), dtype), count)?;
        }
        Ok(AttentionOutput {
            output: output.output.clone(),
            lse: output.lse.clone(),
            attention_scores: scores.cloned(),
            path: self.path,
            form,
        })
    }
}

/// The path of a call. Fails where the one asked for can't be taken.
pub(crate) fn choose_path(
    operation: &'static str,
    gpu: &Gpu,
    dims: &Dims,
    wanted: Option<AttentionPath>,
    scores: bool,
) -> Result<AttentionPath> {
    let fits = attention_forward::default_form(gpu.is_cpu(), dims, gpu.limits()).is_some();
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
    /// Whether the caller's numbers are f16, so that what is held in f32 may be rounded to it.
    pub(crate) half: bool,
    pub(crate) masks: Masks<'a>,
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
    /// Takes the probabilities before dropout: `[B,H,T,S]`.
    pub(crate) scores: Option<&'a Tensor>,
    /// `[B,H,T]` f32
    pub(crate) lse: Slot<'a>,
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
        AttentionPath::Fused => check_binding(gpu, operation, "lse", product(&[b, h, t, 2])),
        AttentionPath::Chained => {
            // These kernels bind each operand whole.
            let hkv = dims.key_heads;
            check_binding(gpu, operation, "out", product(&[b, t, h, d]))?;
            check_binding(gpu, operation, "key", product(&[b, s, hkv, d]))?;
            let (name, queries) =
                if scores { ("attention_scores", t) } else { ("attention scores of one query", 1) };
            check_binding(gpu, operation, name, product(&[b, h, queries, s]))
        }
    }
}

/// What [`Attention::encode`] leaves.
pub(crate) struct Recorded {
    /// The form of the fused kernel that was taken, if that was.
    pub(crate) form: Option<&'static str>,
    /// What [`Masks::pack`] gave.
    pub(crate) visibility: Visibility,
    pub(crate) mask_bits: Workspace,
}

impl Attention<'_> {
    /// Records it.
    pub(crate) fn encode(&self, pass: &mut Pass<'_>) -> Result<Recorded> {
        let v = (self.path == AttentionPath::Fused).then_some(self.v);
        let (visibility, mask_bits) =
            self.masks.pack(self.operation, pass, &self.dims, v, self.dropout.is_some())?;
        let masks = (visibility, mask_bits.slot());
        let form = match self.path {
            AttentionPath::Fused => Some(self.encode_fused(pass, masks, self.lse)?),
            AttentionPath::Chained => {
                self.encode_chained(pass, masks, self.lse)?;
                None
            }
        };
        Ok(Recorded { form, visibility, mask_bits })
    }

    fn encode_fused(
        &self,
        pass: &mut Pass<'_>,
        masks: (Visibility, Slot<'_>),
        lse: Slot<'_>,
    ) -> Result<&'static str> {
        let shape = attention_forward::Shape {
            dims: self.dims,
            types: [self.q.1, self.k.1, self.v.1],
            visibility: masks.0,
            dropout: self.dropout.is_some(),
            half: self.half,
        };
        let form = shape.form(pass.gpu());
        let form = form.ok_or_else(|| Error::argument(self.operation, "path", "Chained", "Fused"))?;
        let operands = attention_forward::AttentionForward {
            q: self.q,
            k: self.k,
            v: self.v,
            masks,
            scale: self.scale,
            dropout: self.dropout,
            out: self.out,
            lse,
        };
        attention_forward::attention_forward(pass, &self.dims, &operands, form)?;
        Ok(form.name)
    }

    /// The ranges of queries that are run one after the other, so that their probabilities fit the adapter; all at once if
    /// scores are wanted. [`check_sizes`] has seen to it that this can be.
    fn query_ranges(&self, gpu: &Gpu) -> Vec<Queries> {
        if self.scores.is_some() {
            return vec![Queries { begin: 0, count: self.dims.query_len }];
        }
        let one_query = (self.dims.batch * self.dims.query_heads * self.dims.key_len) as u64;
        let most = (gpu.binding_limits().bytes / 4).min(PROBS_WORDS).max(one_query);
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
        let probs = pass.workspace("probs", rows * longest as u64 * dims.key_len as u64);

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
