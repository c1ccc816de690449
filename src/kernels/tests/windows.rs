//! Operands larger than one binding, with bindings made small instead of operands large.

use super::support::*;
use crate::kernels::attention::forward::forms::FORMS;
use crate::kernels::attention::forward::{Operands, attention_forward};
use crate::kernels::attention::masks::pack_mask::pack_mask;
use crate::kernels::linear::{self, Linear, linear};
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
            let problem = Linear { sizes: [m, k, n], x: x_type, w: DType::F32 };
            let operands = linear::Operands {
                x: x.operand(),
                w: w.operand(),
                bias: None,
                multiplicand: Some(gated.range()),
                y: y.range(),
                add: false,
            };
            let before = gpu.usage().dispatches;
            run(&gpu, |pass| linear(pass, &problem, &operands, linear::forms::FORMS[0]));
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
    let (direct, split) =
        ("direct 1x8 lanes of 16x8", "direct 1x8 lanes of 2x8, keys split for 8 workgroups");
    for (sizes, form) in [
        // Batches that fit one at a time, or two; queries and keys that do not fit.
        ([5, 7, 9, 4, 2, 16], direct),
        ([2, 50, 70, 4, 2, 30], "direct 1x8 lanes of 12x16"),
        ([1, 40, 300, 2, 1, 64], direct),
        // Keys split over workgroups: of batches that do not fit together, and keys that do not fit.
        ([5, 2, 70, 2, 1, 16], split),
        ([2, 2, 300, 2, 1, 16], split),
    ] {
        let form = *FORMS.iter().find(|known| known.name == form).unwrap();
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
            let masks = mask_tensors(&gpu, &visibility);
            let (problem, layout) = problem(&gpu, dims, &visibility, &masks, 0.8, None);
            let (out, lse) =
                (poisoned(&gpu, &[b, t, h, d], DType::F32), poisoned(&gpu, &[b, h, t], DType::F32));
            run(&gpu, |pass| {
                let mask_bits = layout.pack(pass, &dims, v.operand())?;
                let (q, k, v) = (q.operand(), k.operand(), v.operand());
                let operands =
                    Operands { q, k, v, mask_bits: mask_bits.range(), out: out.range(), lse: lse.range() };
                attention_forward(pass, &problem, &operands, form)
            });
            let options = reference::AttentionOptions {
                score: reference::ScoreRule::scaled(f64::from(0.8f32)),
                visibility,
                dropout: None,
            };
            let expected = reference::attention_forward(&q_ref, &k_ref, &v_ref, &options).unwrap();
            check(&format!("out {sizes:?} {flags} {}", form.name), &out, expected.output.data(), 1e-5);
            check(&format!("lse {sizes:?} {flags} {}", form.name), &lse, &expected.lse, 1e-5);
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
