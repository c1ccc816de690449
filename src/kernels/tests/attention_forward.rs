//! Fused attention in every form against the reference.

use super::super::attention_forward::{AttentionForward, FORMS, Form, attention_forward};
use super::support::*;
use crate::mask::Masks;
use crate::reference::{self, Visibility};
use crate::tuning::Form as _;
use crate::{Array, DType, Dropout, Tensor};

#[test]
fn fused_attention_is_the_references_under_every_mask() {
    let gpu = gpu();
    // Beside the others, keys beyond one dispatch, and rows beyond one workgroup.
    let more = [
        [1, 2, 40_000, 2, 1, 4],
        [2, 70, 133, 2, 1, 8],
        [1, 3, 40, 2, 2, 252],
        [1, 40, 270, 4, 2, 64],
        [2, 5, 96, 6, 2, 128],
    ];
    for (case, sizes) in DIMS.into_iter().chain(more).enumerate() {
        let [b, t, s, h, hkv, d] = sizes;
        let dims = dims(sizes);
        let (q_type, k_type) = (super::super::FLOATS[case % 3], super::super::FLOATS[case / 3 % 3]);
        let (q, q_ref) = tensor(&gpu, &[b, t, h, d], values(b * t * h * d, 1), q_type);
        let (k, k_ref) = tensor(&gpu, &[b, s, hkv, d], values(b * s * hkv * d, 2), k_type);
        let mut v = values(b * s * hkv * d, 3);
        let key_mask = bools(&[b, s], 4);
        // What the key mask hides may be anything.
        for (i, x) in v.iter_mut().enumerate() {
            if !key_mask.data()[i / (hkv * d)] {
                *x = [f32::NAN, f32::INFINITY, 1.0][i % 3];
            }
        }
        let clean: Vec<f32> = v.iter().map(|&x| if x.is_finite() { x } else { 0.5 }).collect();
        let (v, v_ref) = tensor(&gpu, &[b, s, hkv, d], v, k_type);
        let (clean, clean_ref) = tensor(&gpu, &[b, s, hkv, d], clean, k_type);
        let (attention_mask, query_mask) = (bools(&[b, h, t, s], 5), bools(&[b, t], 6));
        let least = wgpu::Limits::default();
        let forms: Vec<Form> = FORMS
            .into_iter()
            .filter(|form| [&least, gpu.limits()].iter().all(|limits| form.fits(d, None, limits)))
            .collect();
        // Each case meets two forms, and each form all masks; more would mostly compile.
        for step in 0..24u32 {
            let flags = (step * 5 % 64) ^ case as u32;
            let on = |bit: u32| flags >> bit & 1 == 1;
            if s > 1000 && step > 5 {
                continue;
            }
            let form = forms[(3 * case + step as usize % 2) % forms.len()];
            let visibility = Visibility {
                causal: on(0),
                window: on(1).then_some(1 + 5 * case),
                q_offset: if on(2) { s / 2 } else { 0 },
                attention_mask: on(3).then_some(&attention_mask),
                query_mask: on(4).then_some(&query_mask),
                value_mask: None,
                key_mask: on(5).then_some(&key_mask),
            };
            let dropout = (flags % 3 == 1).then_some(Dropout {
                probability: 0.3,
                seed: 1 << 40 | 9,
                q_offset: 3,
                batch_offset: 1,
            });
            let upload = |mask: Option<&Array<bool>>| {
                mask.map(|mask| pollster::block_on(Tensor::from_mask(&gpu, mask)).unwrap())
            };
            let masks = [visibility.attention_mask, visibility.query_mask, visibility.key_mask].map(upload);
            let masks = Masks {
                attention_mask: masks[0].as_ref(),
                query_mask: masks[1].as_ref(),
                value_mask: None,
                key_mask: masks[2].as_ref(),
                causal: visibility.causal,
                q_offset: visibility.q_offset as u32,
                sliding_window: visibility.window,
            };
            let (v, v_ref) = if on(5) { (&v, &v_ref) } else { (&clean, &clean_ref) };
            let out = poisoned(&gpu, &[b, t, h, d], DType::F32);
            let lse = poisoned(&gpu, &[b, h, t], DType::F32);
            let weigh = masks.hide() || dropout.is_some();
            run(&gpu, |pass| {
                let wild = weigh.then_some((v.slot(), k_type));
                let (packed, bits) = masks.pack("test", pass, &dims, wild)?;
                let operands = AttentionForward {
                    q: (q.slot(), q_type),
                    k: (k.slot(), k_type),
                    v: (v.slot(), k_type),
                    masks: (packed, bits.slot()),
                    scale: 0.8,
                    dropout,
                    out: out.slot(),
                    lse: lse.slot(),
                };
                attention_forward(pass, &dims, &operands, form, weigh)
            });
            let options = reference::AttentionOptions { scale: f64::from(0.8f32), visibility, dropout };
            let expected = reference::attention_forward(&q_ref, &k_ref, v_ref, &options).unwrap();
            let what = format!("{sizes:?} {q_type} {k_type} flags {flags:06b} {}", form.name());
            check(&format!("out {what}"), &out, expected.output.data(), 1e-5);
            check(&format!("lse {what}"), &lse, &expected.lse, 1e-5);
        }
    }
}
