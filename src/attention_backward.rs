//! The gradients of attention with respect to q, k and v, from what a forward pass left: memory O(T).

use crate::attention::{Plan, check_float, check_output};
use crate::dropout::Dropout;
use crate::gpu::{Gpu, Pass, Slot};
use crate::kernels::attention_backward::{self, AttentionBackward, Role};
use crate::kernels::attention_delta::attention_delta;
use crate::kernels::cast::InType;
use crate::kernels::check_binding;
use crate::kernels::tame::tame;
use crate::mask::Visibility;
use crate::shapes::Dims;
use crate::{AttentionOptions, AttentionOutput, DType, Error, Result, Tensor};

const OPERATION: &str = "scaled_dot_product_attention_backward";
const BACKWARD: &str = "attention_backward";

/// What [`scaled_dot_product_attention_backward`] returns, all f32.
#[derive(Debug, Clone)]
pub struct AttentionGradients {
    /// `[B,T,H,D]`
    pub dq: Tensor,
    /// `[B,S,Hkv,D]`, summed over the heads of each group.
    pub dk: Tensor,
    /// `[B,S,Hkv,D]`, summed over the heads of each group.
    pub dv: Tensor,
}

/// The gradients of `Σ d_out ∘ output` with respect to q, k and v, where `attended` is what
/// [`scaled_dot_product_attention`](crate::scaled_dot_product_attention) returned for them with the same options, dropout
/// included. d_out is `[B,T,H,D]` of any float type; gradients are f32.
///
/// A query that sees no key has gradient 0 and gives none. Nothing of size T × S is made. The same call gives the same bits.
/// The commands are submitted, not waited for.
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
    // What the forward pass took for its path, this does not need.
    let options = AttentionOptions { path: None, return_attention_scores: false, ..*options };
    let plan = Plan::new(OPERATION, q, k, v, &options)?;
    let dims = plan.dims;
    let lse_shape = [dims.batch, dims.query_heads, dims.query_len];
    check_output(OPERATION, gpu, "attended.output", Some(&attended.output), q.shape(), q.dtype())?;
    check_output(OPERATION, gpu, "attended.lse", Some(&attended.lse), &lse_shape, DType::F32)?;
    check_gradient(OPERATION, gpu, "d_out", d_out, q.shape())?;
    check_sizes(OPERATION, gpu, &dims)?;
    let visibility = plan.masks.visibility(OPERATION, &dims)?;
    attention_backward::Shape { dims, visibility, dropout: plan.dropout.is_some() }.tune(gpu).await?;
    gpu.submit(OPERATION, |pass| {
        let new = |like: &Tensor| Tensor::output(gpu, OPERATION, like.shape().to_vec(), DType::F32);
        let gradients = AttentionGradients { dq: new(q)?, dk: new(k)?, dv: new(v)? };
        let (visibility, mask_bits) = plan.masks.pack(OPERATION, pass, &dims, None, false)?;
        let changes = visibility.hides() || plan.dropout.is_some();
        // What changes is a copy.
        let own = if changes { InType::copy } else { InType::new };
        let [own_q, own_k] = [own(pass, q, DType::F32)?, own(pass, k, DType::F32)?];
        let [own_v, own_d_out] = [own(pass, v, DType::F32)?, own(pass, d_out, DType::F32)?];
        let out = InType::new(pass, &attended.output, DType::F32)?;
        let operands = AttentionGradient {
            dims,
            q: own_q.slot(),
            k: own_k.slot(),
            v: own_v.slot(),
            out: out.slot(),
            lse: attended.lse.slot(),
            d_out: own_d_out.slot(),
            visibility,
            mask_bits: mask_bits.slot(),
            scale: plan.scale,
            dropout: plan.dropout,
            dq: gradients.dq.slot(),
            dk: gradients.dk.slot(),
            dv: gradients.dv.slot(),
        };
        operands.encode(pass)?;
        Ok(gradients)
    })
    .await
}

/// Fails unless it holds floats of this shape on this device.
pub(crate) fn check_gradient(
    operation: &'static str,
    gpu: &Gpu,
    name: &str,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<()> {
    check_float(operation, gpu, name, tensor)?;
    if tensor.shape() != shape {
        let (expected, got) = (format!("of the output's shape {shape:?}"), format!("{:?}", tensor.shape()));
        return Err(Error::argument(operation, name, expected, got));
    }
    Ok(())
}

/// Fails where an operand of one batch element would not fit one binding.
pub(crate) fn check_sizes(operation: &'static str, gpu: &Gpu, dims: &Dims) -> Result<()> {
    let words = |len: usize, heads: usize| (len * heads) as u64 * dims.head_dim as u64;
    check_binding(gpu, operation, "q of a batch element", words(dims.query_len, dims.query_heads))?;
    check_binding(gpu, operation, "k of a batch element", words(dims.key_len, dims.key_heads))?;
    let rows = (dims.batch * dims.query_heads * dims.query_len) as u64;
    check_binding(gpu, operation, "lse and delta", 2 * rows)
}

/// One run of the gradients of attention. All operands are f32. Where keys can be hidden or dropped, q, k, v and d_out change,
/// and so must be the library's own.
pub(crate) struct AttentionGradient<'a> {
    pub(crate) dims: Dims,
    /// `[B,T,H,D]`
    pub(crate) q: Slot<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) k: Slot<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) v: Slot<'a>,
    /// `[B,T,H,D]`
    pub(crate) out: Slot<'a>,
    /// `[B,H,T]`
    pub(crate) lse: Slot<'a>,
    /// `[B,T,H,D]`
    pub(crate) d_out: Slot<'a>,
    pub(crate) visibility: Visibility,
    pub(crate) mask_bits: Slot<'a>,
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
    /// `[B,T,H,D]`
    pub(crate) dq: Slot<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) dk: Slot<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) dv: Slot<'a>,
}

impl AttentionGradient<'_> {
    pub(crate) fn encode(&self, pass: &mut Pass<'_>) -> Result<()> {
        let (gpu, dims) = (pass.gpu(), &self.dims);
        let queries = dims.batch * dims.query_len * dims.query_heads;
        let keys = dims.batch * dims.key_len * dims.key_heads;
        let stats = pass.workspace("lse and delta", 2 * queries as u64);
        attention_delta(pass, dims, [self.d_out, self.out, self.lse, stats.slot()])?;
        if self.visibility.hides() || self.dropout.is_some() {
            for (x, rows) in [(self.q, queries), (self.k, keys), (self.v, keys), (self.d_out, queries)] {
                tame(pass, x, rows * dims.head_dim)?;
            }
        }
        let operands = AttentionBackward {
            q: self.q,
            d_out: self.d_out,
            k: self.k,
            v: self.v,
            stats: stats.slot(),
            masks: (self.visibility, self.mask_bits),
            scale: self.scale,
            dropout: self.dropout,
            dq: self.dq,
            dk: self.dk,
            dv: self.dv,
        };
        let shape = attention_backward::Shape {
            dims: *dims,
            visibility: self.visibility,
            dropout: self.dropout.is_some(),
        };
        for role in Role::ALL {
            let refuse = || Error::argument(BACKWARD, "form", "one that fits this device", "another");
            let form = shape.form(gpu, role).ok_or_else(refuse)?;
            attention_backward::attention_backward(pass, dims, &operands, role, form)?;
        }
        Ok(())
    }
}
