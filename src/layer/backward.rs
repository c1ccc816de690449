//! The gradients of a call, readable top to bottom: `forward.rs` in reverse.
//!
//! ```text
//! d_output ── · W_oᵀ ──► d_attended ──► (gate) ──► d_out ──► attention_backward ──► dq, dk, dv
//!    └─ attendedᵀ · ──► dW_o                └─► dz                  each · Wᵀ ──► d_query, d_key, d_value
//!                                                                   xᵀ · each ──► dW,   column sums ──► db
//! ```

use super::forward::f32s;
use super::tape::{BACKWARD, Gradients, Tape};
use crate::arguments::check_gradient;
use crate::attention::BackwardOperands;
use crate::gpu::{BufferRange, Operand, Pass, Workspace};
use crate::kernels::attention::masks::zero_nonfinite::zero_nonfinite;
use crate::kernels::elementwise::gate_backward::gate_backward;
use crate::kernels::elementwise::sums::column_sums;
use crate::kernels::elementwise::transpose::transpose;
use crate::kernels::linear::{Linear, multiply};
use crate::shapes::Dims;
use crate::{DType, Projection, Result, Tensor};

impl Tape<'_> {
    /// The gradients of `Σ d_output ∘ attention_output + regularization_loss` with respect to the weights and the inputs.
    /// `d_output` is `[B,T,C]` of any float type.
    ///
    /// The same call gives the same bits. The commands are submitted, not waited for.
    pub async fn backward(self, d_output: &Tensor) -> Result<Gradients> {
        let layer = self.layer;
        check_gradient(BACKWARD, &layer.gpu, "d_output", d_output, self.output.shape())?;
        layer.gpu.submit(BACKWARD, |pass| self.record_backward(pass, d_output)).await
    }

    /// The data flow, backwards.
    fn record_backward(self, pass: &mut Pass<'_>, d_output: &Tensor) -> Result<Gradients> {
        let (layer, gpu, kept) = (self.layer, pass.gpu(), &self.kept);
        let dims = kept.problem.dims;
        let Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } = dims;
        let projections = &self.plan.projections;
        let (queries, keys) = (b * t * h * d, b * s * hkv * d);
        let dtype = layer.config.dtype.compute_dtype();
        let weights = &layer.weights;
        let new = |shape: &[usize]| Tensor::output(gpu, BACKWARD, shape.to_vec(), DType::F32);
        let d_weights = layer.variables().try_map(|weight| new(weight.shape()))?;
        let d_query = new(self.output.shape())?;
        let d_value = new(&[b, s, layer.widths.value])?;
        let d_key = self.has_key.then(|| new(&[b, s, layer.widths.key])).transpose()?;

        // attention_output = attended · W_o + b_o
        let d_output = self.d_output_f32(pass, d_output)?;
        let attended = kept.gate.as_ref().map_or(kept.out.range(), |gate| gate.gated.range()); // [B,T,H,D]
        let d_attended = f32s(pass, "d_attended", &[b, t, h, d]);
        let output = Back { projection: projections.attention_output, dy: d_output.range() };
        let x = Transposed::input(pass, output.projection, Operand::f32(attended), false)?;
        output.weights(pass, &x, &d_weights.attention_output)?;
        output.input(pass, &weights.attention_output, d_attended.range(), false)?;
        drop(x);

        // attended = gate ∘ out, gate = sigmoid(query · W_g + b_g)
        let d_out = d_attended;
        if let Some(gate) = &kept.gate {
            let penalty = match &layer.config.activity_regularizer {
                Some(regularizer) => regularizer.factors().map(|own| (own / b as f64) as f32),
                None => [0.0; 2],
            };
            gate_backward(pass, [gate.gate.range(), kept.out.range(), d_out.range()], queries, penalty)?;
        }

        // out = attention(q, k, v)
        let dq = f32s(pass, "dq", &[b, t, h, d]);
        let dk = f32s(pass, "dk", &[b, s, hkv, d]);
        let dv = f32s(pass, "dv", &[b, s, hkv, d]);
        let operands = BackwardOperands {
            q: kept.q.range(),
            k: kept.k.range(),
            v: kept.v.range(),
            out: kept.out.range(),
            lse: kept.lse.range(),
            d_out: d_out.range(),
            mask_bits: kept.mask_bits.range(),
            dq: dq.range(),
            dk: dk.range(),
            dv: dv.range(),
        };
        self.plan.attention.record(pass, kept.problem.dropout, &operands)?;
        self.penalize(pass, (kept.q.range(), dq.range()), queries, 1.0)?;
        self.penalize(pass, (kept.k.range(), dk.range()), keys, 1.0)?;
        self.penalize(pass, (kept.v.range(), dv.range()), keys, 1.0)?;

        // q = query · W_q + b_q, and so on
        let hides = kept.problem.visibility.hides();
        let input = |range| Operand { range, dtype };
        let of_query = Back { projection: projections.query, dy: dq.range() };
        let query = Transposed::input(pass, of_query.projection, input(kept.query.range()), hides)?;
        of_query.weights(pass, &query, &d_weights.query)?;
        of_query.input(pass, &weights.query, d_query.range(), false)?;
        if let (Some(gate), Some(weights), Some(d_weights)) = (&kept.gate, &weights.gate, &d_weights.gate) {
            let of_gate = Back { dy: gate.gate.range(), ..of_query };
            of_gate.weights(pass, &query, d_weights)?;
            of_gate.input(pass, weights, d_query.range(), true)?;
        }
        drop(query);
        let of_value = Back { projection: projections.value, dy: dv.range() };
        let value = Transposed::input(pass, of_value.projection, input(kept.value.range()), hides)?;
        of_value.weights(pass, &value, &d_weights.value)?;
        of_value.input(pass, &weights.value, d_value.range(), false)?;
        let of_key = Back { projection: projections.key, dy: dk.range() };
        let key = match &d_key {
            Some(_) => Transposed::input(pass, of_key.projection, input(kept.key.range()), hides)?,
            None => value,
        };
        of_key.weights(pass, &key, &d_weights.key)?;
        of_key.input(pass, &weights.key, d_key.as_ref().unwrap_or(&d_value).range(), d_key.is_none())?;

        self.penalize_weights(pass, &d_weights)?;
        Ok(Gradients { weights: d_weights, query: d_query, value: d_value, key: d_key })
    }
}

/// The gradients of a projection y = x · w + b, given dy `[M,N]`.
#[derive(Clone, Copy)]
struct Back<'a> {
    projection: Linear,
    dy: BufferRange<'a>,
}

impl Back<'_> {
    /// dw `[K,N]` = xᵀ `[K,M]` · dy `[M,N]`, db `[N]` = the column sums of dy.
    fn weights(&self, pass: &mut Pass<'_>, x: &Transposed, d_weights: &Projection<Tensor>) -> Result<()> {
        let [m, _, n] = self.projection.sizes;
        let product = self.projection.gradient_of_w();
        multiply(pass, product, x.0.range(), self.dy, d_weights.kernel.range(), false)?;
        match &d_weights.bias {
            Some(bias) => column_sums(pass, self.dy, [m, n], bias.range()),
            None => Ok(()),
        }
    }

    /// dx `[M,K]` = dy `[M,N]` · wᵀ `[N,K]`, or added to dx.
    fn input(
        &self,
        pass: &mut Pass<'_>,
        weights: &Projection<Tensor>,
        dx: BufferRange<'_>,
        add: bool,
    ) -> Result<()> {
        let [_, k, n] = self.projection.sizes;
        let w = Transposed::new(pass, weights.kernel.operand(), [k, n])?;
        multiply(pass, self.projection.gradient_of_x(), self.dy, w.0.range(), dx, add)
    }
}

/// xᵀ `[K,M]` f32 of x `[M,K]`.
struct Transposed(Workspace);

impl Transposed {
    fn new(pass: &mut Pass<'_>, x: Operand<'_>, [m, k]: [usize; 2]) -> Result<Self> {
        let transposed = pass.workspace("transposed", (m * k) as u64);
        transpose(pass, x, [m, k], transposed.range())?;
        Ok(Self(transposed))
    }

    /// Transposes the input of a projection. With `hidden`, rows of x may be masked and hold non-finite values.
    fn input(pass: &mut Pass<'_>, projection: Linear, x: Operand<'_>, hidden: bool) -> Result<Self> {
        let [m, k, _] = projection.sizes;
        let transposed = Self::new(pass, x, [m, k])?;
        if hidden {
            zero_nonfinite(pass, transposed.0.range(), m * k)?;
        }
        Ok(transposed)
    }
}
