//! A case of fused attention for the tests of its forms: operands, every mask that flags turn on, and the reference.

use super::support::*;
use crate::kernels::attention::backward::delta::attention_delta;
use crate::kernels::attention::backward::lanes::{self, AttentionBackward, Role, attention_backward};
use crate::kernels::attention::forward::lanes::{AttentionForward, Form, attention_forward, default_form};
use crate::kernels::attention::masks::zero_nonfinite::zero_nonfinite;
use crate::mask::Masks;
use crate::reference::{self, Visibility};
use crate::shapes::Dims;
use crate::{Array, DType, Dropout, Gpu, Tensor};

/// An operand, and what the reference sees of it.
type Operand = (Tensor, Array<f64>);

pub(super) struct AttentionCase {
    dims: Dims,
    /// The type of k and v.
    k_type: DType,
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
    /// With q `[B,T,H,D]` and k `[B,S,Hkv,D]` of these values and types; v is of k's type.
    pub(super) fn new(
        gpu: &Gpu,
        sizes: [usize; 6],
        (q, q_type): (Vec<f32>, DType),
        (k, k_type): (Vec<f32>, DType),
    ) -> Self {
        let [b, t, s, h, hkv, d] = sizes;
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
            dims: dims(sizes),
            k_type,
            q: tensor(gpu, &[b, t, h, d], q, q_type),
            k: tensor(gpu, &[b, s, hkv, d], k, k_type),
            v: tensor(gpu, &[b, s, hkv, d], v, k_type),
            clean_v: tensor(gpu, &[b, s, hkv, d], clean, k_type),
            attention_mask: bools(&[b, h, t, s], 5),
            query_mask: bools(&[b, t], 6),
            key_mask,
        }
    }

    /// What the flags mean for case number `case`.
    fn visibility(&self, flags: u32, case: usize) -> Visibility<'_> {
        let on = |bit: u32| flags >> bit & 1 == 1;
        Visibility {
            causal: on(0),
            window: on(1).then_some(1 + 5 * case),
            q_offset: if on(2) { self.dims.key_len / 2 } else { 0 },
            attention_mask: on(3).then_some(&self.attention_mask),
            query_mask: on(4).then_some(&self.query_mask),
            value_mask: None,
            key_mask: self.hides_keys(flags).then_some(&self.key_mask),
        }
    }

    fn hides_keys(&self, flags: u32) -> bool {
        flags >> 5 & 1 == 1
    }

    fn v(&self, flags: u32) -> &Operand {
        if self.hides_keys(flags) { &self.v } else { &self.clean_v }
    }

    fn dropout(flags: u32) -> Option<Dropout> {
        let dropout = Dropout { probability: 0.3, seed: 1 << 40 | 9, q_offset: 3, batch_offset: 1 };
        (flags % 3 == 1).then_some(dropout)
    }

    /// Runs a form over poisoned outputs.
    pub(super) fn run(&self, gpu: &Gpu, form: Form, flags: u32, case: usize) -> Attended {
        let visibility = self.visibility(flags, case);
        let tensors = mask_tensors(gpu, &visibility);
        let masks = masks(&visibility, &tensors);
        let Dims { batch, query_len, query_heads, head_dim, .. } = self.dims;
        let out = poisoned(gpu, &[batch, query_len, query_heads, head_dim], DType::F32);
        let lse = poisoned(gpu, &[batch, query_heads, query_len], DType::F32);
        let (v, dropout) = ((self.v(flags).0.range(), self.k_type), Self::dropout(flags));
        run(gpu, |pass| {
            let (packed, bits) = masks.pack("test", pass, &self.dims, Some(v), dropout.is_some())?;
            let operands = AttentionForward {
                q: (self.q.0.range(), self.q.0.dtype()),
                k: (self.k.0.range(), self.k_type),
                v,
                masks: (packed, bits.range()),
                scale: SCALE,
                dropout,
                out: out.range(),
                lse: lse.range(),
            };
            attention_forward(pass, &self.dims, &operands, form)
        });
        Attended { out, lse }
    }

    /// What the reference makes of it, with operands as a kernel that computes in `seen_as` sees them.
    pub(super) fn expected(&self, flags: u32, case: usize, seen_as: DType) -> reference::Attention {
        let [q, k, v] =
            [&self.q.1, &self.k.1, &self.v(flags).1].map(|operand| reference::cast(operand, seen_as));
        let (visibility, dropout) = (self.visibility(flags, case), Self::dropout(flags));
        let options = reference::AttentionOptions { scale: f64::from(SCALE), visibility, dropout };
        reference::attention_forward(&q, &k, &v, &options).unwrap()
    }

    /// Runs forward, then backward in these forms of its two roles, over poisoned outputs: dq, dk, dv. All operands are f32.
    pub(super) fn differentiate(
        &self,
        gpu: &Gpu,
        forms: [attention_backward::Form; 2],
        flags: u32,
        case: usize,
        d_out: &Array<f64>,
    ) -> [Tensor; 3] {
        let visibility = self.visibility(flags, case);
        let tensors = mask_tensors(gpu, &visibility);
        let masks = masks(&visibility, &tensors);
        let Dims { batch, query_len, query_heads, .. } = self.dims;
        // Copies: wild values do not stay.
        let copy = |x: &Array<f64>| {
            tensor(gpu, x.shape(), x.data().iter().map(|&x| x as f32).collect(), DType::F32).0
        };
        let [q, k, v, d_out] = [&self.q.1, &self.k.1, &self.v(flags).1, d_out].map(copy);
        let [out, dq, dk, dv] = [&q, &q, &k, &v].map(|like| poisoned(gpu, like.shape(), DType::F32));
        let lse = poisoned(gpu, &[batch, query_heads, query_len], DType::F32);
        let stats = poisoned(gpu, &[batch, query_heads, query_len, 2], DType::F32);
        let (dropout, f32) = (Self::dropout(flags), DType::F32);
        // What the forward pass leaves here; of heads too wide for it, the chained path would.
        let expected = self.expected(flags, case, f32);
        for (tensor, left) in [(&out, expected.output.data()), (&lse, &expected.lse)] {
            let left: Vec<f32> = left.iter().map(|&x| x as f32).collect();
            gpu.queue().write_buffer(tensor.buffer(), 0, bytemuck::cast_slice(&left));
        }
        run(gpu, |pass| {
            let (packed, bits) =
                masks.pack("test", pass, &self.dims, Some((v.range(), f32)), dropout.is_some())?;
            let masks = (packed, bits.range());
            let forward = AttentionForward {
                q: (q.range(), f32),
                k: (k.range(), f32),
                v: (v.range(), f32),
                masks,
                scale: SCALE,
                dropout,
                out: out.range(),
                lse: lse.range(),
            };
            if let Some(form) = default_form(gpu.is_cpu(), &self.dims, gpu.limits()) {
                attention_forward(pass, &self.dims, &forward, form)?;
            }
            attention_delta(pass, &self.dims, [&d_out, &out, &lse, &stats].map(Tensor::range))?;
            for x in [&q, &k, &v, &d_out] {
                zero_nonfinite(pass, x.range(), x.shape().iter().product())?;
            }
            let operands = AttentionBackward {
                q: q.range(),
                d_out: d_out.range(),
                k: k.range(),
                v: v.range(),
                stats: stats.range(),
                masks,
                scale: SCALE,
                dropout,
                dq: dq.range(),
                dk: dk.range(),
                dv: dv.range(),
            };
            for (role, form) in Role::ALL.into_iter().zip(forms) {
                attention_backward(pass, &self.dims, &operands, role, form)?;
            }
            Ok(())
        });
        [dq, dk, dv]
    }

    /// What the reference makes of it.
    pub(super) fn expected_gradients(
        &self,
        flags: u32,
        case: usize,
        d_out: &Array<f64>,
    ) -> reference::AttentionGradients {
        let (visibility, dropout) = (self.visibility(flags, case), Self::dropout(flags));
        let options = reference::AttentionOptions { scale: f64::from(SCALE), visibility, dropout };
        reference::attention_backward(&self.q.1, &self.k.1, &self.v(flags).1, d_out, &options).unwrap()
    }

    /// Which queries the query mask hides under these flags.
    pub(super) fn hidden_query(&self, flags: u32, b: usize, t: usize) -> bool {
        flags >> 4 & 1 == 1 && !self.query_mask.data()[b * self.dims.query_len + t]
    }
}

/// The attention, query and key mask on the GPU.
fn mask_tensors(gpu: &Gpu, visibility: &Visibility<'_>) -> [Option<Tensor>; 3] {
    [visibility.attention_mask, visibility.query_mask, visibility.key_mask]
        .map(|mask| mask.map(|mask| pollster::block_on(Tensor::from_mask(gpu, mask)).unwrap()))
}

fn masks<'a>(visibility: &Visibility<'_>, tensors: &'a [Option<Tensor>; 3]) -> Masks<'a> {
    Masks {
        attention_mask: tensors[0].as_ref(),
        query_mask: tensors[1].as_ref(),
        value_mask: None,
        key_mask: tensors[2].as_ref(),
        causal: visibility.causal,
        q_offset: visibility.q_offset as u32,
        sliding_window: visibility.window,
    }
}
