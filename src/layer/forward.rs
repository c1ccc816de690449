//! The data flow of a call: query, key and value → `attention_output`, readable top to bottom.

use super::plan::LayerPlan;
use super::{CallOptions, CallOutput, OutputTensors};
use crate::attention::{AttentionOperands, Recorded};
use crate::gpu::{BufferRange, Operand, Pass, Workspace};
use crate::kernels::attention::problem::Problem;
use crate::kernels::elementwise::cast::{Converted, cast};
use crate::kernels::elementwise::gate::gate;
use crate::kernels::linear::{Linear, Operands};
use crate::shapes::Dims;
use crate::{DType, GroupedQueryAttention, Projection, Result, Tensor};

impl GroupedQueryAttention {
    /// Records the data flow. Only [`Mode::Training`] keeps everything that a backward pass needs.
    pub(super) fn record(
        &self,
        pass: &mut Pass<'_>,
        plan: &LayerPlan<'_>,
        options: &CallOptions<'_>,
        output: &OutputTensors,
        mode: Mode,
    ) -> Result<(CallOutput, Intermediates)> {
        let Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } =
            *plan.dims();
        let c = self.widths.query;
        let projections = &plan.projections;
        let dtype = self.config.dtype.compute_dtype();
        let (weights, dropout) = (&self.weights, self.draw_dropout(options));
        let scores = output.attention_scores.as_ref().filter(|_| plan.attention.scores);
        let q = f32s(pass, "q", &[b, t, h, d]);
        let k = f32s(pass, "k", &[b, s, hkv, d]);
        let v = f32s(pass, "v", &[b, s, hkv, d]);
        let out = f32s(pass, "out", &[b, t, h, d]);
        let lse = f32s(pass, "lse", &[b, h, t]);

        let query = Converted::new(pass, plan.query, dtype)?; // [B,T,C]
        let key = Converted::new(pass, plan.key, dtype)?; // [B,S,Ck]
        let value = Converted::new(pass, plan.value, dtype)?; // [B,S,Cv]

        project(pass, projections.query, &weights.query, query.range(), None, q.range())?;
        project(pass, projections.key, &weights.key, key.range(), None, k.range())?;
        project(pass, projections.value, &weights.value, value.range(), None, v.range())?;

        let operands = AttentionOperands {
            q: Operand::f32(q.range()),
            k: Operand::f32(k.range()),
            v: Operand::f32(v.range()),
            out: out.range(),
            lse: lse.range(),
            scores,
        };
        let Recorded { form, problem, mask_bits } = plan.attention.record(pass, dropout, &operands)?;

        // gated = sigmoid(query · w + bias) ∘ out
        let kept_gate = match (&weights.gate, mode) {
            (None, _) => None,
            (Some(weights), Mode::Inference) => {
                // q is no longer needed, so its buffer holds the result.
                let out = Some(out.range());
                project(pass, projections.query, weights, query.range(), out, q.range())?;
                None
            }
            (Some(weights), Mode::Training) => {
                let own_gate = f32s(pass, "gate", &[b, t, h, d]);
                let gated = f32s(pass, "gated", &[b, t, h, d]);
                project(pass, projections.query, weights, query.range(), None, own_gate.range())?;
                gate(pass, [own_gate.range(), out.range(), gated.range()], b * t * h * d)?;
                Some(Gate { gate: own_gate, gated })
            }
        };
        let attended = match (&kept_gate, &weights.gate) {
            (Some(gate), _) => gate.gated.range(),
            (None, Some(_)) => q.range(),
            (None, None) => out.range(),
        };
        let result = &output.attention_output;
        let wide = (dtype != DType::F32).then(|| f32s(pass, "attention_output", &[b, t, c]));
        let y = wide.as_ref().map_or(result.range(), Workspace::range);
        project(pass, projections.attention_output, &weights.attention_output, attended, None, y)?;
        if wide.is_some() {
            cast(pass, Operand::f32(y), result.operand(), b * t * c)?;
        }
        let called = CallOutput {
            attention_output: output.attention_output.clone(),
            attention_scores: scores.cloned(),
            dropout_seed: dropout.map(|dropout| dropout.seed),
            path: plan.attention.path,
            attention_form: form,
        };
        let intermediates =
            Intermediates { query, key, value, q, k, v, out, lse, problem, mask_bits, gate: kept_gate };
        Ok((called, intermediates))
    }
}

/// Whether a backward pass follows.
#[cfg_attr(not(feature = "training"), expect(dead_code, reason = "only training keeps anything"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Inference,
    Training,
}

/// Intermediates of a forward pass: the inputs in the policy's compute type, all others f32.
#[cfg_attr(not(feature = "training"), expect(dead_code, reason = "only training keeps anything"))]
pub(crate) struct Intermediates {
    /// `[B,T,C]`
    pub(crate) query: Converted,
    /// `[B,S,Ck]`
    pub(crate) key: Converted,
    /// `[B,S,Cv]`
    pub(crate) value: Converted,
    /// `[B,T,H,D]`
    pub(crate) q: Workspace,
    /// `[B,S,Hkv,D]`
    pub(crate) k: Workspace,
    /// `[B,S,Hkv,D]`
    pub(crate) v: Workspace,
    /// `[B,T,H,D]`, before the gate
    pub(crate) out: Workspace,
    /// `[B,H,T]`
    pub(crate) lse: Workspace,
    /// The problem, with the dropout of the call.
    pub(crate) problem: Problem,
    pub(crate) mask_bits: Workspace,
    pub(crate) gate: Option<Gate>,
}

/// A gate and the gated output, `[B,T,H,D]` each.
#[cfg_attr(not(feature = "training"), expect(dead_code, reason = "only training keeps anything"))]
pub(crate) struct Gate {
    pub(crate) gate: Workspace,
    pub(crate) gated: Workspace,
}

/// y `[M,N]` = x `[M,K]` · kernel `[K,N]` + bias `[N]`; with `multiplicand`, y = sigmoid(x · kernel + bias) ∘ multiplicand.
fn project(
    pass: &mut Pass<'_>,
    projection: Linear,
    weights: &Projection<Tensor>,
    x: BufferRange<'_>,
    multiplicand: Option<BufferRange<'_>>,
    y: BufferRange<'_>,
) -> Result<()> {
    let operands = Operands {
        x: Operand { range: x, dtype: projection.x },
        w: weights.kernel.operand(),
        bias: weights.bias.as_ref().map(Tensor::range),
        multiplicand,
        y,
        add: false,
    };
    projection.encode(pass, &operands)
}

/// An f32 intermediate of this shape.
pub(crate) fn f32s(pass: &Pass<'_>, label: &'static str, shape: &[usize]) -> Workspace {
    pass.workspace(label, shape.iter().product::<usize>() as u64)
}
