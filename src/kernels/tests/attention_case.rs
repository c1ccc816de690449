//! Cases of fused attention for the tests of its forms: operands, what hides keys from queries, and the reference.

use super::attention_rows::{Row, Rule};
use super::support::*;
use crate::kernels::attention::backward::delta::attention_delta;
use crate::kernels::attention::backward::{self, Role, attention_backward};
use crate::kernels::attention::forward::{self, Form, attention_forward};
use crate::kernels::attention::masks::zero_nonfinite::zero_nonfinite;
use crate::reference::{self, Visibility};
use crate::shapes::Dims;
use crate::{Array, DType, Dropout, Gpu, Tensor};

/// An operand, and what the reference sees of it.
type Operand = (Tensor, Array<f64>);

pub(super) struct AttentionCase {
    dims: Dims,
    dropout: Option<Dropout>,
    /// Keys that a window shows.
    window: usize,
    q: Operand,
    k: Operand,
    /// With NaN and infinity where the key mask hides them.
    v: Operand,
    clean_v: Operand,
    attention_mask: Array<bool>,
    query_mask: Array<bool>,
    key_mask: Array<bool>,
}

/// What a form made of a case.
pub(super) struct Attended {
    pub(super) out: Tensor,
    pub(super) lse: Tensor,
}

const SCALE: f32 = 0.8;

impl AttentionCase {
    /// With made-up q and k.
    pub(super) fn new(gpu: &Gpu, row: &Row) -> Self {
        let [b, t, s, h, hkv, d] = row.sizes;
        Self::of(gpu, row, values(b * t * h * d, 1), values(b * s * hkv * d, 2))
    }

    /// With q `[B,T,H,D]` and k `[B,S,Hkv,D]` of these values.
    pub(super) fn of(gpu: &Gpu, row: &Row, q: Vec<f32>, k: Vec<f32>) -> Self {
        let ([b, t, s, h, hkv, d], [q_type, k_type]) = (row.sizes, row.types);
        let mut v = values(b * s * hkv * d, 3);
        let key_mask = bools(&[b, s], 4);
        // What the key mask hides may be anything.
        for (i, x) in v.iter_mut().enumerate() {
            if !key_mask.data()[i / (hkv * d)] {
                *x = [f32::NAN, f32::INFINITY, 1.0][i % 3];
            }
        }
        let clean: Vec<f32> = v.iter().map(|&x| if x.is_finite() { x } else { 0.5 }).collect();
        Self {
            dims: dims(row.sizes),
            dropout: row.dropout.then_some(Dropout {
                probability: 0.3,
                seed: 1 << 40 | 9,
                q_offset: 3,
                batch_offset: 1,
            }),
            window: 1 + s / 3,
            q: tensor(gpu, &[b, t, h, d], q, q_type),
            k: tensor(gpu, &[b, s, hkv, d], k, k_type),
            v: tensor(gpu, &[b, s, hkv, d], v, k_type),
            clean_v: tensor(gpu, &[b, s, hkv, d], clean, k_type),
            attention_mask: bools(&[b, h, t, s], 5),
            query_mask: bools(&[b, t], 6),
            key_mask,
        }
    }

    fn visibility(&self, rules: &[Rule]) -> Visibility<'_> {
        let on = |rule: Rule| rules.contains(&rule);
        Visibility {
            causal: on(Rule::Causal),
            window: on(Rule::Window).then_some(self.window),
            q_offset: if on(Rule::Offset) { self.dims.key_len / 2 } else { 0 },
            attention_mask: on(Rule::AttentionMask).then_some(&self.attention_mask),
            query_mask: on(Rule::QueryMask).then_some(&self.query_mask),
            value_mask: None,
            key_mask: on(Rule::KeyMask).then_some(&self.key_mask),
        }
    }

    fn v(&self, rules: &[Rule]) -> &Operand {
        if rules.contains(&Rule::KeyMask) { &self.v } else { &self.clean_v }
    }

    /// Runs a form over poisoned outputs.
    pub(super) fn run(&self, gpu: &Gpu, form: Form, rules: &[Rule]) -> Attended {
        let visibility = self.visibility(rules);
        let masks = mask_tensors(gpu, &visibility);
        let (problem, layout) = problem(gpu, self.dims, &visibility, &masks, SCALE, self.dropout);
        let Dims { batch, query_len, query_heads, head_dim, .. } = self.dims;
        let out = poisoned(gpu, &[batch, query_len, query_heads, head_dim], DType::F32);
        let lse = poisoned(gpu, &[batch, query_heads, query_len], DType::F32);
        let [q, k, v] = [&self.q, &self.k, self.v(rules)].map(|(tensor, _)| tensor.operand());
        run(gpu, |pass| {
            let mask_bits = layout.pack(pass, &self.dims, v)?;
            let (mask_bits, out, lse) = (mask_bits.range(), out.range(), lse.range());
            attention_forward(pass, &problem, &forward::Operands { q, k, v, mask_bits, out, lse }, form)
        });
        Attended { out, lse }
    }

    /// What the reference makes of it, with operands as a kernel that computes in `seen_as` sees them.
    pub(super) fn expected(&self, rules: &[Rule], seen_as: DType) -> reference::Attention {
        let [q, k, v] =
            [&self.q.1, &self.k.1, &self.v(rules).1].map(|operand| reference::cast(operand, seen_as));
        let (visibility, dropout) = (self.visibility(rules), self.dropout);
        let options = reference::AttentionOptions {
            score: reference::ScoreRule::scaled(f64::from(SCALE)),
            visibility,
            dropout,
        };
        reference::attention_forward(&q, &k, &v, &options).unwrap()
    }

    /// Runs one role of backward after what forward leaves, over poisoned outputs: dq, dk, dv. All operands are f32.
    pub(super) fn differentiate(
        &self,
        gpu: &Gpu,
        (role, form): (Role, backward::Form),
        rules: &[Rule],
        d_out: &Array<f64>,
        expected: &reference::Attention,
    ) -> [Tensor; 3] {
        let visibility = self.visibility(rules);
        let masks = mask_tensors(gpu, &visibility);
        let (problem, layout) = problem(gpu, self.dims, &visibility, &masks, SCALE, self.dropout);
        let Dims { batch, query_len, query_heads, .. } = self.dims;
        // Copies: non-finite values do not stay.
        let copy = |x: &Array<f64>| {
            tensor(gpu, x.shape(), x.data().iter().map(|&x| x as f32).collect(), DType::F32).0
        };
        let [q, k, v, d_out] = [&self.q.1, &self.k.1, &self.v(rules).1, d_out].map(copy);
        let [out, dq, dk, dv] = [&q, &q, &k, &v].map(|like| poisoned(gpu, like.shape(), DType::F32));
        let lse = poisoned(gpu, &[batch, query_heads, query_len], DType::F32);
        let stats = poisoned(gpu, &[batch, query_heads, query_len, 2], DType::F32);
        // By the reference: `tests/gradients.rs` has the two passes one after the other.
        for (tensor, left) in [(&out, expected.output.data()), (&lse, &expected.lse)] {
            let left: Vec<f32> = left.iter().map(|&x| x as f32).collect();
            gpu.queue().write_buffer(tensor.buffer(), 0, bytemuck::cast_slice(&left));
        }
        run(gpu, |pass| {
            let mask_bits = layout.pack(pass, &self.dims, v.operand())?;
            attention_delta(pass, &self.dims, [&d_out, &out, &lse, &stats].map(Tensor::range))?;
            for x in [&q, &k, &v, &d_out] {
                zero_nonfinite(pass, x.range(), x.shape().iter().product())?;
            }
            let operands = backward::Operands {
                q: q.range(),
                d_out: d_out.range(),
                k: k.range(),
                v: v.range(),
                stats: stats.range(),
                mask_bits: mask_bits.range(),
                dq: dq.range(),
                dk: dk.range(),
                dv: dv.range(),
            };
            attention_backward(pass, &problem, &operands, role, form)
        });
        [dq, dk, dv]
    }

    /// What the reference makes of it.
    pub(super) fn expected_gradients(
        &self,
        rules: &[Rule],
        d_out: &Array<f64>,
    ) -> reference::AttentionGradients {
        let (visibility, dropout) = (self.visibility(rules), self.dropout);
        let options = reference::AttentionOptions {
            score: reference::ScoreRule::scaled(f64::from(SCALE)),
            visibility,
            dropout,
        };
        reference::attention_backward(&self.q.1, &self.k.1, &self.v(rules).1, d_out, &options).unwrap()
    }

    /// Which queries the query mask hides under these rules.
    pub(super) fn hidden_query(&self, rules: &[Rule], b: usize, t: usize) -> bool {
        rules.contains(&Rule::QueryMask) && !self.query_mask.data()[b * self.dims.query_len + t]
    }
}
