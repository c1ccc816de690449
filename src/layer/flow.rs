//! The data flow of a call: query, key and value → `attention_output`, readable top to bottom.

use crate::attention::{Attention, Recorded, default_scale};
use crate::dropout::Dropout;
use crate::gpu::{Pass, Slot, Workspace};
use crate::kernels::cast::{InType, cast};
use crate::kernels::gate::gate;
use crate::kernels::linear::{self, Linear, linear};
use crate::layer::{CallOptions, CallOutput, OPERATION, OutputTensors, Plan};
use crate::mask::Visibility;
use crate::shapes::Dims;
use crate::{DType, GroupedQueryAttention, Projection, Result, Tensor};

impl GroupedQueryAttention {
    /// The data flow. What a backward pass needs is only all there if it is to be kept.
    pub(crate) fn record(
        &self,
        pass: &mut Pass<'_>,
        plan: &Plan<'_>,
        options: &CallOptions<'_>,
        output: &OutputTensors,
        keep: Keep,
    ) -> Result<(CallOutput, Intermediates)> {
        let Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } =
            plan.dims;
        let c = self.widths.query;
        let [of_q, of_k, of_v, of_output] = self.projections(&plan.dims);
        let dtype = self.config.dtype.compute_dtype();
        let (weights, dropout) = (&self.weights, self.draw_dropout(options));
        let scores = output.attention_scores.as_ref().filter(|_| plan.scores);
        let q = f32s(pass, "q", &[b, t, h, d]);
        let k = f32s(pass, "k", &[b, s, hkv, d]);
        let v = f32s(pass, "v", &[b, s, hkv, d]);
        let out = f32s(pass, "out", &[b, t, h, d]);
        let lse = f32s(pass, "lse", &[b, h, t]);

        let query = InType::new(pass, plan.query, dtype)?; // [B,T,C]
        let key = InType::new(pass, plan.key, dtype)?; // [B,S,Ck]
        let value = InType::new(pass, plan.value, dtype)?; // [B,S,Cv]

        project(pass, &weights.query, (query.slot(), dtype), None, q.slot(), of_q)?;
        project(pass, &weights.key, (key.slot(), dtype), None, k.slot(), of_k)?;
        project(pass, &weights.value, (value.slot(), dtype), None, v.slot(), of_v)?;

        let attention = Attention {
            operation: OPERATION,
            dims: plan.dims,
            path: plan.path,
            q: (q.slot(), DType::F32),
            k: (k.slot(), DType::F32),
            v: (v.slot(), DType::F32),
            half: dtype == DType::F16,
            masks: plan.masks,
            scale: default_scale(d),
            dropout,
            scores,
            lse: lse.slot(),
            out: out.slot(),
        };
        let Recorded { form, visibility, mask_bits } = attention.encode(pass)?;

        // gated = sigmoid(query · w + bias) ∘ out
        let kept_gate = match (&weights.gate, keep) {
            (None, _) => None,
            (Some(weights), Keep::Nothing) => {
                // q has been read, and takes it.
                let query = (query.slot(), dtype);
                project(pass, weights, query, Some(out.slot()), q.slot(), of_q)?;
                None
            }
            (Some(weights), Keep::Everything) => {
                let own_gate = f32s(pass, "gate", &[b, t, h, d]);
                let gated = f32s(pass, "gated", &[b, t, h, d]);
                let query = (query.slot(), dtype);
                project(pass, weights, query, None, own_gate.slot(), of_q)?;
                gate(pass, [own_gate.slot(), out.slot(), gated.slot()], b * t * h * d)?;
                Some(Gate { gate: own_gate, gated })
            }
        };
        let attended = match (&kept_gate, &weights.gate) {
            (Some(gate), _) => gate.gated.slot(),
            (None, Some(_)) => q.slot(),
            (None, None) => out.slot(),
        };
        let attended = (attended, DType::F32);
        let result = output.attention_output.slot();
        if dtype == DType::F32 {
            project(pass, &weights.attention_output, attended, None, result, of_output)?;
        } else {
            let wide = f32s(pass, "attention_output", &[b, t, c]);
            project(pass, &weights.attention_output, attended, None, wide.slot(), of_output)?;
            cast(pass, (wide.slot(), DType::F32), (result, dtype), b * t * c)?;
        }
        let called = CallOutput {
            attention_output: output.attention_output.clone(),
            attention_scores: scores.cloned(),
            dropout_seed: dropout.map(|dropout| dropout.seed),
            path: plan.path,
            attention_form: form,
        };
        let intermediates = Intermediates {
            query,
            key,
            value,
            q,
            k,
            v,
            out,
            lse,
            visibility,
            mask_bits,
            dropout,
            gate: kept_gate,
        };
        Ok((called, intermediates))
    }
}

/// Whether a backward pass will follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    Everything,
}

/// What a forward pass leaves: the inputs in the policy's compute type, all else f32.
pub(crate) struct Intermediates {
    /// `[B,T,C]`
    pub(crate) query: InType,
    /// `[B,S,Ck]`
    pub(crate) key: InType,
    /// `[B,S,Cv]`
    pub(crate) value: InType,
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
    pub(crate) visibility: Visibility,
    pub(crate) mask_bits: Workspace,
    pub(crate) dropout: Option<Dropout>,
    pub(crate) gate: Option<Gate>,
}

/// A gate and what it made of out, `[B,T,H,D]` each.
pub(crate) struct Gate {
    pub(crate) gate: Workspace,
    pub(crate) gated: Workspace,
}

/// y `[M,N]` = x `[M,K]` · kernel `[K,N]` + bias `[N]`, and with `gated` sigmoid(that) ∘ gated; `sizes` is M, K, N.
fn project(
    pass: &mut Pass<'_>,
    weights: &Projection<Tensor>,
    x: (Slot<'_>, DType),
    gated: Option<Slot<'_>>,
    y: Slot<'_>,
    sizes: [usize; 3],
) -> Result<()> {
    let bias = weights.bias.as_ref().map(Tensor::slot);
    let w_type = weights.kernel.dtype();
    let shape = linear::Shape { sizes, x: x.1, w: w_type, bias: bias.is_some() };
    let form = shape.form(pass.gpu());
    linear(pass, &Linear { x, w: weights.kernel.slot(), bias, w_type, gated, y, add: false, sizes }, form)
}

/// An f32 intermediate of this shape.
pub(crate) fn f32s(pass: &Pass<'_>, label: &'static str, shape: &[usize]) -> Workspace {
    pass.workspace(label, shape.iter().product::<usize>() as u64)
}
