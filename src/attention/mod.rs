//! Attention alone, for callers with already projected q, k, v; and its two paths, which the layer shares:
//!
//! ```text
//! fused    attention_forward
//! chained  scores = score(q·k) where visible, else −inf → softmax → dropout → weighted_values
//! ```

mod backward;
mod forward;
mod masks;
mod options;
mod plan;

use crate::arguments::{check_float, check_output};
use crate::gpu::{Operand, Pass, Tensor, Workspace};
use crate::kernels::elementwise::cast::cast;
use crate::shapes::Dims;
use crate::{DType, Result};
pub use backward::{AttentionGradients, scaled_dot_product_attention_backward};
#[cfg(feature = "training")]
pub(crate) use backward::{BackwardOperands, BackwardPlan};
pub(crate) use forward::{AttentionOperands, Recorded};
pub(crate) use masks::AttentionMasks;
#[cfg(test)]
pub(crate) use masks::MaskLayout;
pub use options::{AttentionOptions, AttentionOutput, AttentionPath, AttentionTensors};
pub(crate) use plan::{AttentionArguments, AttentionPlan};

const OPERATION: &str = "scaled_dot_product_attention";

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
    let call = Call::new(OPERATION, q, k, v, options)?;
    call.plan.tune(q.gpu()).await?;
    q.gpu().submit(OPERATION, |pass| call.record(pass, &call.allocate()?)).await
}

/// Output tensors for [`encode_scaled_dot_product_attention`] with these arguments. They can be reused.
pub async fn allocate_attention_output(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &AttentionOptions<'_>,
) -> Result<AttentionTensors> {
    let call = Call::new(OPERATION, q, k, v, options)?;
    q.gpu().checked(OPERATION, || call.allocate()).await
}

/// Measures the forms of the kernel for a call with these arguments, if [tuning](crate::Tuning) is on and they are not
/// measured yet. [`scaled_dot_product_attention`] does so by itself; [`encode_scaled_dot_product_attention`] can't.
pub async fn tune_scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &AttentionOptions<'_>,
) -> Result<()> {
    Call::new(OPERATION, q, k, v, options)?.plan.tune(q.gpu()).await
}

/// Records the commands of [`scaled_dot_product_attention`] into the caller's encoder. It neither submits nor waits.
/// Results go to `output`, which must not overlap the inputs.
///
/// Arguments are checked before anything is recorded. Errors that wgpu reports later, such as running out of memory, go to
/// the caller's error scope or handler; call [`trim`](crate::Gpu::trim) after one.
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
    let call = Call::new(OPERATION, q, k, v, options)?;
    let dims = call.dims();
    let lse_shape = vec![dims.batch, dims.query_heads, dims.query_len];
    check_output(OPERATION, gpu, "output.output", Some(&output.output), q.shape(), q.dtype())?;
    check_output(OPERATION, gpu, "output.lse", Some(&output.lse), &lse_shape, DType::F32)?;
    if options.return_attention_scores {
        let scores = output.attention_scores.as_ref();
        check_output(OPERATION, gpu, "output.attention_scores", scores, &dims.scores_shape(), q.dtype())?;
    }
    for tensor in [q, k, v, &output.output, &output.lse] {
        tensor.mark_shared();
    }
    call.plan.masks.mark_shared();
    output.attention_scores.iter().for_each(Tensor::mark_shared);
    call.record(&mut Pass::begin(gpu, encoder), output)
}

/// A call of attention alone whose arguments have been checked.
struct Call<'a> {
    q: &'a Tensor,
    k: &'a Tensor,
    v: &'a Tensor,
    plan: AttentionPlan<'a>,
}

impl<'a> Call<'a> {
    fn new(
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
        let types = [q, k, v].map(Tensor::dtype);
        let arguments = AttentionArguments {
            dims,
            types,
            half: types == [DType::F16; 3],
            score: options.score(operation, dims.head_dim)?,
            causal: options.use_causal_mask,
            sliding_window: options.sliding_window,
            q_offset: options.q_offset,
            masks: AttentionMasks {
                attention_mask: options.attention_mask,
                query_mask: options.query_mask,
                value_mask: None,
                key_mask: options.key_mask,
            },
            dropout: options.dropout,
            scores: options.return_attention_scores,
            path: options.path,
        };
        Ok(Self { q, k, v, plan: AttentionPlan::new(operation, gpu, &arguments)? })
    }

    fn dims(&self) -> &Dims {
        &self.plan.problem.dims
    }

    /// Must be called under an error scope.
    fn allocate(&self) -> Result<AttentionTensors> {
        let (gpu, dims, dtype) = (self.q.gpu(), self.dims(), self.q.dtype());
        let new = |shape: Vec<usize>, dtype| Tensor::output(gpu, OPERATION, shape, dtype);
        Ok(AttentionTensors {
            output: new(self.q.shape().to_vec(), dtype)?,
            lse: new(vec![dims.batch, dims.query_heads, dims.query_len], DType::F32)?,
            attention_scores: self.plan.scores.then(|| new(dims.scores_shape(), dtype)).transpose()?,
        })
    }

    fn record(&self, pass: &mut Pass<'_>, output: &AttentionTensors) -> Result<AttentionOutput> {
        let dtype = self.q.dtype();
        let count = self.q.shape().iter().product();
        let wide = (dtype != DType::F32).then(|| pass.workspace("out", count as u64));
        let scores = output.attention_scores.as_ref().filter(|_| self.plan.scores);
        let out = wide.as_ref().map_or(output.output.range(), Workspace::range);
        let operands = AttentionOperands {
            q: self.q.operand(),
            k: self.k.operand(),
            v: self.v.operand(),
            out,
            lse: output.lse.range(),
            scores,
        };
        let form = self.plan.record(pass, self.plan.problem.dropout, &operands)?.form;
        if wide.is_some() {
            cast(pass, Operand::f32(out), output.output.operand(), count)?;
        }
        Ok(AttentionOutput {
            output: output.output.clone(),
            lse: output.lse.clone(),
            attention_scores: scores.cloned(),
            path: self.plan.path,
            form,
        })
    }
}
