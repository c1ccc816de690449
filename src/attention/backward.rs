//! The gradients of attention with respect to q, k and v, from the output and lse of a forward pass: memory O(T).

use super::Call;
use crate::arguments::{check_binding, check_gradient, check_output};
use crate::dropout::Dropout;
use crate::gpu::{BufferRange, Gpu, Pass};
use crate::kernels::attention::backward::delta::attention_delta;
use crate::kernels::attention::backward::{Backward, Operands, Role, attention_backward};
use crate::kernels::attention::masks::zero_nonfinite::zero_nonfinite;
use crate::kernels::attention::problem::Problem;
use crate::kernels::elementwise::cast::Converted;
use crate::shapes::Dims;
use crate::{AttentionOptions, AttentionOutput, DType, Error, Result, Tensor, tuning};

const OPERATION: &str = "scaled_dot_product_attention_backward";
const BACKWARD: &str = "attention_backward";

/// Gradients that [`scaled_dot_product_attention_backward`] returns, all f32.
#[derive(Debug, Clone)]
pub struct AttentionGradients {
    /// `[B,T,H,D]`
    pub dq: Tensor,
    /// `[B,S,Hkv,D]`, summed over the heads of each group.
    pub dk: Tensor,
    /// `[B,S,Hkv,D]`, summed over the heads of each group.
    pub dv: Tensor,
}

/// The gradients of `Σ d_out ∘ output` with respect to q, k and v. `attended` is the result of
/// [`scaled_dot_product_attention`](crate::scaled_dot_product_attention) for the same tensors and options, dropout included.
/// d_out is `[B,T,H,D]` of any float type; gradients are f32.
///
/// A query that sees no key has gradient 0 and contributes none. No buffer of size T × S is allocated. The same call gives
/// the same bits. The commands are submitted, not waited for.
///
/// ```
/// # pollster::block_on(async {
/// let gpu = gqa::Gpu::from_env().await?;
/// let q = gqa::Tensor::from_slice(&gpu, [1, 3, 4, 8], &[0.5f32; 96]).await?;
/// let kv = gqa::Tensor::from_slice(&gpu, [1, 5, 2, 8], &[2.0f32; 80]).await?;
/// let options = gqa::AttentionOptions { use_causal_mask: true, ..Default::default() };
/// let attended = gqa::scaled_dot_product_attention(&q, &kv, &kv, &options).await?;
/// let ones = gqa::Tensor::from_slice(&gpu, [1, 3, 4, 8], &[1.0f32; 96]).await?;
/// let gradients = gqa::scaled_dot_product_attention_backward(&q, &kv, &kv, &attended, &ones, &options).await?;
/// // Probabilities add up to 1: so do the weights of v, over 3 queries and 2 heads of each group.
/// let dv = gradients.dv.to_vec::<f32>().await?;
/// assert!((dv.iter().sum::<f32>() - 96.0).abs() < 1e-3);
/// # Ok::<(), gqa::Error>(()) }).unwrap();
/// ```
pub async fn scaled_dot_product_attention_backward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    attended: &AttentionOutput,
    d_out: &Tensor,
    options: &AttentionOptions<'_>,
) -> Result<AttentionGradients> {
    let gpu = q.gpu();
    // The gradients don't depend on the path of the forward pass.
    let options = AttentionOptions { path: None, return_attention_scores: false, ..*options };
    let call = Call::new(OPERATION, q, k, v, &options)?;
    let dims = *call.dims();
    let lse_shape = [dims.batch, dims.query_heads, dims.query_len];
    check_output(OPERATION, gpu, "attended.output", Some(&attended.output), q.shape(), q.dtype())?;
    check_output(OPERATION, gpu, "attended.lse", Some(&attended.lse), &lse_shape, DType::F32)?;
    check_gradient(OPERATION, gpu, "d_out", d_out, q.shape())?;
    let masks = call.plan.masks.without_nonfinite_keys();
    let problem = Problem { visibility: masks.visibility, ..call.plan.problem };
    let plan = BackwardPlan::new(OPERATION, gpu, problem)?;
    plan.tune(gpu).await?;
    gpu.submit(OPERATION, |pass| {
        let new = |like: &Tensor| Tensor::output(gpu, OPERATION, like.shape().to_vec(), DType::F32);
        let gradients = AttentionGradients { dq: new(q)?, dk: new(k)?, dv: new(v)? };
        let mask_bits = masks.pack(pass, &dims, v.operand())?;
        // Kernels change their operands in place, so they get copies.
        let f32 = if problem.may_hide() { Converted::copy } else { Converted::new };
        let [q, k] = [f32(pass, q, DType::F32)?, f32(pass, k, DType::F32)?];
        let [v, d_out] = [f32(pass, v, DType::F32)?, f32(pass, d_out, DType::F32)?];
        let out = Converted::new(pass, &attended.output, DType::F32)?;
        let operands = BackwardOperands {
            q: q.range(),
            k: k.range(),
            v: v.range(),
            out: out.range(),
            lse: attended.lse.range(),
            d_out: d_out.range(),
            mask_bits: mask_bits.range(),
            dq: gradients.dq.range(),
            dk: gradients.dk.range(),
            dv: gradients.dv.range(),
        };
        plan.record(pass, problem.dropout, &operands)?;
        Ok(gradients)
    })
    .await
}

/// The plan of the gradients of attention. Tuning and recording both read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackwardPlan {
    problem: Problem,
}

/// The operands of the gradients of attention, all f32. If keys can be hidden or dropped, q, k, v and d_out are modified in
/// place, so they must be the library's own buffers.
#[derive(Clone, Copy)]
pub(crate) struct BackwardOperands<'a> {
    /// `[B,T,H,D]`
    pub(crate) q: BufferRange<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) k: BufferRange<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) v: BufferRange<'a>,
    /// `[B,T,H,D]`
    pub(crate) out: BufferRange<'a>,
    /// `[B,H,T]`
    pub(crate) lse: BufferRange<'a>,
    /// `[B,T,H,D]`
    pub(crate) d_out: BufferRange<'a>,
    /// Mask bits, laid out as the problem's visibility says.
    pub(crate) mask_bits: BufferRange<'a>,
    /// `[B,T,H,D]`
    pub(crate) dq: BufferRange<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) dk: BufferRange<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) dv: BufferRange<'a>,
}

impl BackwardPlan {
    /// Fails if an operand of one batch element exceeds one binding.
    pub(crate) fn new(operation: &'static str, gpu: &Gpu, problem: Problem) -> Result<Self> {
        let dims = &problem.dims;
        let words = |len: usize, heads: usize| (len * heads) as u64 * dims.head_dim as u64;
        check_binding(gpu, operation, "q of a batch element", words(dims.query_len, dims.query_heads))?;
        check_binding(gpu, operation, "k of a batch element", words(dims.key_len, dims.key_heads))?;
        let rows = (dims.batch * dims.query_heads * dims.query_len) as u64;
        check_binding(gpu, operation, "lse and delta", 2 * rows)?;
        Ok(Self { problem })
    }

    /// Measures the forms of both roles, if tuning is on and they are not measured yet.
    pub(crate) async fn tune(&self, gpu: &Gpu) -> Result<()> {
        for role in Role::ALL {
            tuning::tune(&Backward { problem: self.problem, role }, gpu).await?;
        }
        Ok(())
    }

    /// Records the gradients. `dropout` replaces the plan's, whose seed was not drawn yet.
    pub(crate) fn record(
        &self,
        pass: &mut Pass<'_>,
        dropout: Option<Dropout>,
        operands: &BackwardOperands<'_>,
    ) -> Result<()> {
        let problem = Problem { dropout, ..self.problem };
        let &BackwardOperands { q, k, v, out, lse, d_out, mask_bits, dq, dk, dv } = operands;
        let Dims { batch, query_len, key_len, query_heads, key_heads, head_dim } = problem.dims;
        let queries = batch * query_len * query_heads;
        let keys = batch * key_len * key_heads;
        let stats = pass.workspace("lse and delta", 2 * queries as u64);
        attention_delta(pass, &problem.dims, [d_out, out, lse, stats.range()])?;
        if problem.may_hide() {
            for (x, rows) in [(q, queries), (k, keys), (v, keys), (d_out, queries)] {
                zero_nonfinite(pass, x, rows * head_dim)?;
            }
        }
        let operands = Operands { q, d_out, k, v, stats: stats.range(), mask_bits, dq, dk, dv };
        for role in Role::ALL {
            let refuse = || Error::argument(BACKWARD, "form", "one that fits this device", "another");
            let form = tuning::form(&Backward { problem, role }, pass.gpu()).ok_or_else(refuse)?;
            attention_backward(pass, &problem, &operands, role, form)?;
        }
        Ok(())
    }
}
