//! Operands larger than one binding, with bindings made small instead of operands large.

use super::support::*;
use crate::kernels::attention::forward::lanes::{AttentionForward, FORMS, attention_forward};
use crate::kernels::attention::masks::pack_mask::pack_mask;
use crate::kernels::linear::lanes::{self, Linear, linear};
use crate::mask::Masks;
use crate::reference::{self, Visibility};
use crate::{DType, Tensor};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

/// Bytes of a binding: a few rows of every operand below.
const WINDOW: u64 = 8192;

#[test]
fn linear_in_windows_of_rows_is_the_references() {
    let gpu = gpu();
    gpu.set_window_bytes(WINDOW);
    // Rows of x, or of y, decide how many fit; neither offset is aligned.
    for [m, k, n] in [[100, 61, 33], [90, 12, 260], [77, 300, 8]] {
        for x_type in [DType::F32, DType::F16] {
            let (x, x_ref) = tensor(&gpu, &[m, k], values(m * k, 1), x_type);
            let (w, w_ref) = tensor(&gpu, &[k, n], values(k * n, 2), DType::F32);
            let (gated, gated_ref) = tensor(&gpu, &[m, n], values(m * n, 3), DType::F32);
            let y = poisoned(&gpu, &[m, n], DType::F32);
            let operands = Linear {
                x: (x.range(), x_type),
                w: w.range(),
                bias: None,
                w_type: DType::F32,
                gated: Some(gated.range()),
                y: y.range(),
                add: false,
                sizes: [m, k, n],
            };
            let before = gpu.usage().dispatches;
            run(&gpu, |pass| linear(pass, &operands, linear::FORMS[0]));
            assert!(gpu.usage().dispatches > before + 1, "it was not split");
            let (x, w, gated) = (x_ref.data(), w_ref.data(), gated_ref.data());
            let expected = reference::gated_linear(x, w, None, gated, [m, k, n]);
            check(&format!("linear {m}×{k}×{n} {x_type}"), &y, &expected, 1e-5);
        }
    }
}

#[test]
fn attention_in_windows_of_batches_queries_and_keys_is_the_references() {
    let gpu = gpu();
    gpu.set_window_bytes(WINDOW);
    // Batches that fit one at a time, or two; queries and keys that do not fit.
    for (case, sizes) in
        [[5, 7, 9, 4, 2, 16], [2, 50, 70, 4, 2, 30], [1, 40, 300, 2, 1, 64]].into_iter().enumerate()
    {
        let [b, t, s, h, hkv, d] = sizes;
        let dims = dims(sizes);
        let (q, q_ref) = tensor(&gpu, &[b, t, h, d], values(b * t * h * d, 1), DType::F32);
        let (k, k_ref) = tensor(&gpu, &[b, s, hkv, d], values(b * s * hkv * d, 2), DType::F16);
        let (v, v_ref) = tensor(&gpu, &[b, s, hkv, d], values(b * s * hkv * d, 3), DType::F32);
        let (attention_mask, key_mask) = (bools(&[b, 1, t, s], 4), bools(&[b, s], 5));
        for flags in 0..4u32 {
            let visibility = Visibility {
                causal: flags & 1 == 1,
                window: (flags == 1).then_some(20),
                q_offset: s / 2,
                attention_mask: (flags & 2 == 2).then_some(&attention_mask),
                query_mask: None,
                value_mask: None,
                key_mask: (flags & 2 == 2).then_some(&key_mask),
            };
            let upload = |mask| pollster::block_on(Tensor::from_mask(&gpu, mask)).unwrap();
            let uploaded = [visibility.attention_mask, visibility.key_mask].map(|mask| mask.map(upload));
            let masks = Masks {
                attention_mask: uploaded[0].as_ref(),
                key_mask: uploaded[1].as_ref(),
                causal: visibility.causal,
                q_offset: visibility.q_offset as u32,
                sliding_window: visibility.window,
                ..Masks::default()
            };
            let (out, lse) =
                (poisoned(&gpu, &[b, t, h, d], DType::F32), poisoned(&gpu, &[b, h, t], DType::F32));
            run(&gpu, |pass| {
                let (packed, bits) = masks.pack("test", pass, &dims, Some((v.range(), DType::F32)), false)?;
                let operands = AttentionForward {
                    q: (q.range(), DType::F32),
                    k: (k.range(), DType::F16),
                    v: (v.range(), DType::F32),
                    masks: (packed, bits.range()),
                    scale: 0.8,
                    dropout: None,
                    out: out.range(),
                    lse: lse.range(),
                };
                attention_forward(pass, &dims, &operands, FORMS[1 + case % 2])
            });
            let options = reference::AttentionOptions { scale: f64::from(0.8f32), visibility, dropout: None };
            let expected = reference::attention_forward(&q_ref, &k_ref, &v_ref, &options).unwrap();
            check(&format!("out {sizes:?} {flags}"), &out, expected.output.data(), 1e-5);
            check(&format!("lse {sizes:?} {flags}"), &lse, &expected.lse, 1e-5);
        }
    }
}

#[test]
fn masks_in_windows_of_rows_are_packed_whole() {
    let gpu = gpu();
    gpu.set_window_bytes(1024);
    let (rows, length) = (70, 101);
    let mask = bools(&[rows, length], 1);
    let tensor = pollster::block_on(Tensor::from_mask(&gpu, &mask)).unwrap();
    let bits = poisoned(&gpu, &[rows * 4], DType::F32);
    let before = gpu.usage().dispatches;
    run(&gpu, |pass| pack_mask(pass, tensor.range(), None, bits.range(), [rows, length, 0]));
    assert!(gpu.usage().dispatches > before + 1, "it was not split");
    let got: Vec<u32> =
        pollster::block_on(bits.to_vec::<f32>()).unwrap().into_iter().map(f32::to_bits).collect();
    assert_eq!(got, reference::pack_mask(mask.data(), length));
}
