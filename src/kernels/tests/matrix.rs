//! The forms in cooperative matrices against the reference, where the adapter has such units.

use super::attention_case::AttentionCase;
use super::support::*;
use crate::kernels::attention::forward::lanes::{self, AttentionForward, attention_forward};
use crate::kernels::linear::lanes::{self, Linear, linear};
use crate::mask::Masks;
use crate::reference;
use crate::{CooperativeMatrix, DType, Gpu};

/// The adapter under test with its cooperative matrices, if it has any.
fn gpu_with_units() -> Option<Gpu> {
    let adapter = std::env::var("GQA_ADAPTER").ok().filter(|wanted| !wanted.trim().is_empty());
    let gpu = pollster::block_on(Gpu::with_cooperative_matrix(adapter.as_deref())).unwrap();
    if gpu.cooperative_matrix() == CooperativeMatrix::Off {
        eprintln!("{gpu:?} has no cooperative matrices for f16: their forms are not tested");
        return None;
    }
    Some(gpu)
}

#[test]
fn the_self_test_passes() {
    let Some(gpu) = gpu_with_units() else { return };
    assert_eq!(gpu.cooperative_matrix(), CooperativeMatrix::Untested);
    assert_eq!(gpu.tested_matrix(), None);
    let units = pollster::block_on(gpu.test_cooperative_matrix()).unwrap();
    assert!(matches!(units, CooperativeMatrix::Passed { size: 8 | 16 }), "{units:?}");
    assert_eq!(gpu.cooperative_matrix(), units);
    assert_eq!(gpu.tested_matrix(), gpu.units());
}

#[test]
fn results_do_not_depend_on_how_wide_subgroups_are() {
    let Some(gpu) = gpu_with_units() else { return };
    let lanes = gpu.units().unwrap().subgroup;
    // One part at a time; more subgroups than parts, forms that need more lanes, and parts that take turns.
    for (lanes, parts) in [(lanes, 1), (32, 3)] {
        let gpu = gpu_with_units().unwrap();
        gpu.set_units(lanes, parts);
        let units = pollster::block_on(gpu.test_cooperative_matrix()).unwrap();
        assert!(matches!(units, CooperativeMatrix::Passed { .. }), "{lanes} lanes, {parts} parts: {units:?}");
    }
}

#[test]
fn linear_in_matrix_units_is_the_references() {
    let Some(gpu) = gpu_with_units() else { return };
    let sizes = [
        [1, 1, 1],
        [3, 5, 7],
        [8, 16, 64],
        [9, 33, 65],
        [131, 64, 130],
        [1, 300, 129],
        [70, 3, 2],
        [2, 40_000, 3],
        [131, 68, 132],
        [65, 20, 4],
    ];
    for (case, [m, k, n]) in sizes.into_iter().enumerate() {
        for x_type in [DType::F16, DType::F32] {
            let (x, x_ref) = tensor(&gpu, &[m, k], values(m * k, 1), x_type);
            let (w, w_ref) = tensor(&gpu, &[k, n], values(k * n, 2), DType::F16);
            let (bias, bias_ref) = tensor(&gpu, &[n], values(n, 3), DType::F16);
            let (other, other_ref) = tensor(&gpu, &[m, n], values(m * n, 4), DType::F32);
            // As the cooperative matrices see it.
            let x_seen = reference::cast(&x_ref, DType::F16);
            let y = poisoned(&gpu, &[m, n], DType::F32);
            for (i, form) in linear::MATRIX_FORMS.into_iter().enumerate() {
                let kind = case + i + usize::from(x_type == DType::F32);
                let (has_bias, has_gate) = (kind & 1 == 1, kind & 2 == 2);
                // Each size meets two forms of three; all would mostly compile.
                if !form.fits(gpu.units(), gpu.limits()) || kind % 3 == 0 || (k > 10_000 && i > 0) {
                    continue;
                }
                let operands = Linear {
                    x: (x.range(), x_type),
                    w: w.range(),
                    bias: has_bias.then(|| bias.range()),
                    w_type: DType::F16,
                    gated: has_gate.then(|| other.range()),
                    y: y.range(),
                    add: false,
                    sizes: [m, k, n],
                };
                let bias_ref = has_bias.then(|| bias_ref.data());
                let expected = |x: &[f64]| {
                    if has_gate {
                        reference::gated_linear(x, w_ref.data(), bias_ref, other_ref.data(), [m, k, n])
                    } else {
                        reference::linear(x, w_ref.data(), bias_ref, [m, k, n])
                    }
                };
                run(&gpu, |pass| linear(pass, &operands, form));
                let what = format!("linear {m}×{k}×{n} {x_type} {has_bias} {has_gate} {}", form.name);
                check(&what, &y, &expected(x_seen.data()), 1e-5);
                check(&what, &y, &expected(x_ref.data()), DType::F16.tolerance());
                poison(&y);
            }
        }
    }
}

#[test]
fn attention_in_matrix_units_is_the_references_under_every_mask() {
    let Some(gpu) = gpu_with_units() else { return };
    // Beside the others, keys beyond one dispatch, and rows beyond one workgroup.
    let more = [[1, 2, 9_000, 2, 1, 4], [2, 70, 133, 2, 1, 8], [1, 40, 270, 4, 2, 64], [2, 5, 96, 6, 2, 128]];
    for (case, sizes) in DIMS.into_iter().chain(more).enumerate() {
        let [b, t, s, h, hkv, d] = sizes;
        let types = [DType::F16, DType::F32];
        let (q_type, k_type) = (types[case % 2], types[case / 2 % 2]);
        let q = grown(values(b * t * h * d, 1), 2.0);
        let mut k = grown(values(b * s * hkv * d, 2), 2.0);
        // Scores that grow along the keys, so that sums are multiplied in every block.
        k.iter_mut().enumerate().for_each(|(i, x)| *x *= (i / (hkv * d) % s + 1) as f32 / s as f32);
        let operands = AttentionCase::new(&gpu, sizes, (q, q_type), (k, k_type));
        let forms = attention_forward::MATRIX_FORMS;
        let forms: Vec<_> = forms.iter().filter(|form| form.fits(d, gpu.units(), gpu.limits())).collect();
        assert!(!forms.is_empty(), "no form fits heads {d} wide");
        for step in 0..5u32 {
            let flags = (step * 13 % 64) ^ case as u32;
            let form = *forms[(case + step as usize) % forms.len()];
            let got = operands.run(&gpu, form, flags, case);
            // As the cooperative matrices see it; probabilities are rounded too.
            let expected = operands.expected(flags, case, DType::F16);
            let what = format!("{sizes:?} {q_type} {k_type} flags {flags:06b} {}", form.name);
            check(&format!("out {what}"), &got.out, expected.output.data(), 1e-3);
            check(&format!("lse {what}"), &got.lse, &expected.lse, 1e-5);
        }
    }
}

#[test]
fn a_visible_nan_and_a_value_past_the_range_of_f16_reach_the_result() {
    let Some(gpu) = gpu_with_units() else { return };
    let dims = dims([1, 9, 70, 2, 1, 8]);
    let form =
        attention_forward::MATRIX_FORMS.into_iter().find(|form| form.fits(8, gpu.units(), gpu.limits()));
    let (q, _) = tensor(&gpu, &[1, 9, 2, 8], values(144, 1), DType::F32);
    let (k, _) = tensor(&gpu, &[1, 70, 1, 8], values(560, 2), DType::F32);
    for (bad, is_right) in [
        (f32::NAN, (|x: f64| x.is_nan()) as fn(f64) -> bool),
        (f32::INFINITY, |x| x == f64::INFINITY),
        (1e6, |x| x.is_finite() && x > 100.0),
    ] {
        // Key 40, which the causal mask with this offset hides from queries before the fifth.
        let v = (0..560).map(|i| if i / 8 == 40 { bad } else { 0.5 }).collect();
        let (v, _) = tensor(&gpu, &[1, 70, 1, 8], v, DType::F32);
        let (out, lse) = (poisoned(&gpu, &[1, 9, 2, 8], DType::F32), poisoned(&gpu, &[1, 2, 9], DType::F32));
        let masks = Masks { causal: true, q_offset: 36, ..Masks::default() };
        run(&gpu, |pass| {
            let (packed, bits) = masks.pack("test", pass, &dims, Some((v.range(), DType::F32)), false)?;
            let operands = AttentionForward {
                q: (q.range(), DType::F32),
                k: (k.range(), DType::F32),
                v: (v.range(), DType::F32),
                masks: (packed, bits.range()),
                scale: 1.0,
                dropout: None,
                out: out.range(),
                lse: lse.range(),
            };
            attention_forward(pass, &dims, &operands, form.unwrap())
        });
        for (i, x) in read(&out).into_iter().enumerate() {
            if i / 16 < 4 {
                assert!((x - 0.5).abs() < 1e-3, "{bad} leaks into query {}: {x}", i / 16);
            } else {
                assert!(is_right(x), "{bad} is {x} in query {}", i / 16);
            }
        }
    }
}

fn grown(mut values: Vec<f32>, factor: f32) -> Vec<f32> {
    values.iter_mut().for_each(|x| *x *= factor);
    values
}
