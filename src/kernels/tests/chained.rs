//! The steps of the chained path against the reference.

use super::support::*;
use crate::kernels::attention::chained::scores::{Scores, scores};
use crate::reference::{self, Visibility};
use crate::{Array, DType, Dropout};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

#[test]
fn scores_are_the_references_under_every_mask() {
    let (gpu, mut sampler) = (gpu(), CaseSampler::new("scores"));
    for (case, sizes) in sampler.order(DIMS.into_iter().enumerate()) {
        let [b, t, s, h, hkv, d] = sizes;
        let dims = dims(sizes);
        let dtype = crate::kernels::FLOATS[case % 3];
        let (q, q_ref) = tensor(&gpu, &[b, t, h, d], values(b * t * h * d, 1), dtype);
        let (k, k_ref) = tensor(&gpu, &[b, s, hkv, d], values(b * s * hkv * d, 2), dtype);
        let attention_masks = [
            None,
            Some(bools(&[t, s], 3)),
            Some(bools(&[b, 1, s], 4)),
            Some(bools(&[1, h, t, s], 5)),
            Some(bools(&[b, h, t, 1], 6)),
            Some(bools(&[b, h, t, s], 7)),
        ];
        let (query_mask, value_mask, key_mask) = (bools(&[b, t], 8), bools(&[b, s], 9), bools(&[b, s], 10));
        for (i, attention_mask) in attention_masks.iter().enumerate() {
            for flags in 0..16u32 {
                let on = |bit: u32| flags >> bit & 1 == 1;
                let rules = ["causal", "window", "query mask", "value mask"];
                let rules = (0..).zip(rules).map(|(bit, rule)| format!("{rule} {}", on(bit)));
                if !sampler.should_run(rules.chain([format!("mask {i}"), format!("{dtype}")])) {
                    continue;
                }
                let visibility = Visibility {
                    causal: on(0),
                    window: on(1).then_some(1 + i * 3),
                    q_offset: i * 2,
                    attention_mask: attention_mask.as_ref(),
                    query_mask: on(2).then_some(&query_mask),
                    value_mask: on(3).then_some(&value_mask),
                    key_mask: (on(3) && i % 2 == 0).then_some(&key_mask),
                };
                let masks = mask_tensors(&gpu, &visibility);
                let (problem, layout) = problem(&gpu, dims, &visibility, &masks, 0.3, None);
                let layout = layout.without_nonfinite_keys();
                let expected = reference::scores(
                    &q_ref,
                    &k_ref,
                    &visibility,
                    &reference::ScoreRule::scaled(f64::from(0.3f32)),
                );
                for queries in ranges(t) {
                    let out = poisoned(&gpu, &[b, h, queries.count, s], DType::F32);
                    run(&gpu, |pass| {
                        let mask_bits = layout.pack(pass, &dims, k.operand())?;
                        let (q, k) = (q.operand(), k.operand());
                        let operands = Scores { q, k, mask_bits: mask_bits.range(), scores: out.range() };
                        scores(pass, &problem, queries, &operands)
                    });
                    let what = format!("scores {sizes:?} {queries:?} mask {i} flags {flags:04b}");
                    check(&what, &out, &rows_of(expected.data(), t, s, queries), 1e-5);
                }
            }
        }
    }
}

#[test]
fn softmax_is_the_references_even_on_empty_rows_and_large_scores() {
    let gpu = gpu();
    for (h, t, s) in [(1, 1, 1), (1, 3, 31), (5, 1, 32), (2, 2, 33), (2, 7, 500), (1, 2, 4099)] {
        for spread in [1.0, 1e4] {
            let rows = 2 * h * t;
            let mut data = values(rows * s, 5);
            data.iter_mut().for_each(|x| *x *= spread);
            let hidden = bools(&[rows, s], 6);
            for (i, x) in data.iter_mut().enumerate() {
                if !hidden.data()[i] || i / s == 1 {
                    *x = f32::NEG_INFINITY;
                }
            }
            let all = Array::new([2, h, t, s], data).unwrap();
            let (probs, expected_lse) = reference::softmax(&all.to_f64());
            let mut lse = poisoned(&gpu, &[2, h, t], DType::F32);
            for queries in ranges(t) {
                let rows = rows_of(all.to_f64().data(), t, s, queries).iter().map(|&x| x as f32).collect();
                let (scores, _) = tensor(&gpu, &[2, h, queries.count, s], rows, DType::F32);
                let dims = dims([2, t, s, h, 1, 1]);
                run(&gpu, |pass| {
                    crate::kernels::attention::chained::softmax::softmax(
                        pass,
                        &dims,
                        queries,
                        scores.range(),
                        lse.range(),
                    )
                });
                let what = format!("softmax {h}×{t}×{s} {queries:?} ±{spread}");
                check(&what, &scores, &rows_of(probs.data(), t, s, queries), 1e-5);
                if queries.count == t {
                    check(&format!("lse {h}×{t}×{s} ±{spread}"), &lse, &expected_lse, 1e-6);
                    lse = poisoned(&gpu, &[2, h, t], DType::F32);
                }
            }
            if t > 1 {
                check(&format!("lse in parts {h}×{t}×{s} ±{spread}"), &lse, &expected_lse, 1e-6);
            }
        }
    }
}

#[test]
fn a_visible_nan_is_not_taken_for_a_hidden_key() {
    let scores = Array::new([1, 1, 1, 3], [f64::NAN, f64::NEG_INFINITY, f64::NAN]).unwrap();
    let (probs, lse) = reference::softmax(&scores);
    assert!(probs.data()[0].is_nan() && lse[0].is_nan());
}

#[test]
fn dropout_drops_what_the_host_drops_bit_for_bit() {
    let gpu = gpu();
    for (case, sizes) in DIMS.into_iter().enumerate() {
        let [b, t, s, h, ..] = sizes;
        let dropout = Dropout {
            probability: [0.1, 0.5, 0.9][case % 3],
            seed: 0xfeed_0000_beef_0000 + case as u64,
            q_offset: case as u32,
            batch_offset: 3 * case as u32,
        };
        let ones = Array::from_fn([b, h, t, s], |_| 1.0);
        let expected = reference::dropout(&ones, &dropout).map(|&x| f64::from(x as f32));
        for queries in ranges(t) {
            let shape = [b, h, queries.count, s];
            let (probs, _) = tensor(&gpu, &shape, vec![1.0; shape.iter().product()], DType::F32);
            run(&gpu, |pass| {
                crate::kernels::attention::chained::dropout::dropout(
                    pass,
                    &plain(dims(sizes), Some(dropout)),
                    queries,
                    probs.range(),
                )
            });
            assert_eq!(read(&probs), rows_of(expected.data(), t, s, queries), "{sizes:?} {queries:?}");
        }
    }
}

#[test]
fn weighted_values_are_the_references_and_hidden_nans_stay_hidden() {
    let gpu = gpu();
    let many_keys = [1, 1, 40_001, 2, 1, 3];
    for (case, sizes) in DIMS.into_iter().chain([many_keys]).enumerate() {
        let [b, t, s, h, hkv, d] = sizes;
        let dtype = crate::kernels::FLOATS[case % 3];
        let mut probs = values(b * h * t * s, 1);
        let mut v = values(b * s * hkv * d, 2);
        // Every third key has probability 0 everywhere, and values that must not be seen.
        probs.iter_mut().enumerate().filter(|(i, _)| i % s % 3 == 2).for_each(|(_, p)| *p = 0.0);
        let keys = v.iter_mut().enumerate().map(|(i, x)| (i / (hkv * d) % s, i, x));
        keys.filter(|(key, ..)| key % 3 == 2).for_each(|(_, i, x)| {
            *x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0][i % 4];
        });
        let (v, v_ref) = tensor(&gpu, &[b, s, hkv, d], v, dtype);
        let probs = Array::new([b, h, t, s], probs).unwrap().to_f64();
        let expected = reference::weighted_values(&probs, &v_ref);
        let out = poisoned(&gpu, &[b, t, h, d], DType::F32);
        // All at once; then in parts, the last first, over what the first run left.
        for queries in ranges(t).into_iter().take(1).chain(ranges(t).into_iter().skip(1).rev()) {
            let rows = rows_of(probs.data(), t, s, queries).iter().map(|&x| x as f32).collect();
            let (probs, _) = tensor(&gpu, &[b, h, queries.count, s], rows, DType::F32);
            let (v, problem) = (v.operand(), plain(dims(sizes), None));
            run(&gpu, |pass| {
                crate::kernels::attention::chained::weighted_values::weighted_values(
                    pass,
                    &problem,
                    queries,
                    probs.range(),
                    v,
                    out.range(),
                )
            });
            check(&format!("weighted_values {sizes:?} {queries:?} {dtype}"), &out, expected.data(), 1e-5);
        }
    }
}
