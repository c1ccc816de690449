//! Each kernel on a GPU against its reference function, over awkward sizes and poisoned outputs.

use super::support::*;
use crate::kernels::attention::chained::scores::{Scores, scores};
use crate::kernels::attention::problem::Problem;
use crate::kernels::attention::score::Score;
use crate::kernels::attention::visible::Visibility as Rule;
use crate::reference::{self, Visibility};
use crate::shapes::Dims;
use crate::{Array, DType, Dropout, Tensor};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

#[test]
fn cast_rounds_to_nearest_even_bit_for_bit() {
    let gpu = gpu();
    let mut data = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        65504.0,
        65519.996,
        65520.0,
        -65520.0,
        1e30,
        -1e30,
        6.1e-5,
        6.0e-5,
        -5.96e-8,
        2.9e-8,
        2.99e-8,
        1e-20,
        3.4e38,
        1.0 + 1.0 / 2048.0,
        1.0 + 3.0 / 2048.0,
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];
    let noise = values(1000, 3);
    data.extend((0..1000).map(|i| noise[i] * 2f32.powi(i as i32 % 60 - 30)));
    for count in [1, 2, 63, 64, 65, data.len()] {
        let data = data[data.len() - count..].to_vec();
        for from in crate::kernels::FLOATS {
            for to in crate::kernels::FLOATS {
                let (x, expected) = tensor(&gpu, &[count], data.clone(), from);
                let y = poisoned(&gpu, &[count], to);
                run(&gpu, |pass| {
                    crate::kernels::elementwise::cast::cast(pass, x.operand(), y.operand(), count)
                });
                let bits = |x: &f64| (*x as f32).to_bits();
                let got: Vec<_> = read(&y).iter().map(bits).collect();
                let expected: Vec<_> = reference::cast(&expected, to).data().iter().map(bits).collect();
                assert_eq!(got, expected, "{from} to {to}, {count} elements");
            }
        }
    }
}

#[test]
fn linear_is_the_references() {
    use super::linear_case::{Kind, LinearCase};
    use crate::kernels::linear::forms::FORMS;
    let (gpu, mut sampler) = (gpu(), CaseSampler::new("linear"));
    // To add a size, add a row: M, K, N.
    let sizes = [
        [1, 1, 1],
        [3, 5, 7],
        [8, 16, 64],
        [9, 33, 65],
        [17, 64, 130],
        [1, 300, 129],
        [70, 3, 2],
        [2, 40_000, 3],
        [131, 68, 132],
        [65, 20, 4],
    ];
    let kinds = Kind::all(&[[DType::F32, DType::F32], [DType::F16, DType::F16], [DType::F32, DType::Bf16]]);
    let forms = FORMS.iter().copied().filter(|form| form.fits(&gpu.capabilities(None)));
    let pairs = forms.flat_map(|form| kinds.iter().map(move |kind| (*kind, form)));
    let picked = sampler.cover(pairs, |(kind, form), extent| kind.traits(form.name, extent), |_| 0);
    for kind in kinds {
        let of_kind: Vec<_> =
            picked.iter().filter(|(other, _)| *other == kind).map(|(_, form)| form).collect();
        for [m, k, n] in sizes.into_iter().filter(|&size| kind.is_of(size) && !of_kind.is_empty()) {
            let case = LinearCase::new(&gpu, kind, [m, k, n]);
            let expected = case.expected(DType::F32);
            // Long sums take a while.
            for form in &of_kind[..if k > 10_000 { 1 } else { of_kind.len() }] {
                let what = format!("linear {m}×{k}×{n} {kind:?} in `{}`", form.name);
                check(&what, case.run(&gpu, **form, false), &expected, 1e-5);
                if !kind.gate {
                    let twice: Vec<f64> = expected.iter().map(|y| 2.0 * y).collect();
                    check(&format!("{what} added"), case.run(&gpu, **form, true), &twice, 1e-5);
                }
            }
        }
    }
}

#[test]
fn pack_mask_is_the_references() {
    let gpu = gpu();
    for (rows, length) in [(1, 1), (2, 31), (3, 32), (5, 33), (7, 100), (130, 65)] {
        let (first, second) = (bools(&[rows, length], 1), bools(&[rows, length], 2));
        let first_tensor = pollster::block_on(Tensor::from_mask(&gpu, &first)).unwrap();
        let second_tensor = pollster::block_on(Tensor::from_mask(&gpu, &second)).unwrap();
        for join in [false, true] {
            let words = rows * length.div_ceil(32);
            let bits = poisoned(&gpu, &[words + 3], DType::F32);
            run(&gpu, |pass| {
                let second = join.then(|| second_tensor.range());
                crate::kernels::attention::masks::pack_mask::pack_mask(
                    pass,
                    first_tensor.range(),
                    second,
                    bits.range(),
                    [rows, length, 3],
                )
            });
            let joined = Array::from_fn([rows, length], |i| first.data()[i] && (!join || second.data()[i]));
            let got = pollster::block_on(bits.to_vec::<f32>()).unwrap();
            let got: Vec<u32> = got.into_iter().map(f32::to_bits).collect();
            assert_eq!(got[..3], [POISON.to_bits(); 3]);
            assert_eq!(got[3..], reference::pack_mask(joined.data(), length), "{rows}×{length}");
        }
    }
}

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
                let expected = reference::scores(&q_ref, &k_ref, &visibility, f64::from(0.3f32));
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

#[test]
fn nonfinite_keys_is_the_references() {
    use crate::kernels::attention::masks::nonfinite_keys::{nonfinite_keys, words};
    let gpu = gpu();
    for (case, sizes) in DIMS.into_iter().enumerate() {
        let [b, _, s, _, hkv, d] = sizes;
        let dtype = crate::kernels::FLOATS[case % 3];
        let mut v = values(b * s * hkv * d, 1);
        let nonfinite = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        v.iter_mut().enumerate().filter(|(i, _)| i % 29 == 7).for_each(|(i, x)| *x = nonfinite[i % 3]);
        let (v, v_ref) = tensor(&gpu, &[b, s, hkv, d], v, dtype);
        let dims = dims(sizes);
        let bits = poisoned(&gpu, &[3 + words(&dims)], DType::F32);
        run(&gpu, |pass| nonfinite_keys(pass, &dims, v.operand(), bits.range(), 3));
        let got: Vec<u32> =
            pollster::block_on(bits.to_vec::<f32>()).unwrap().into_iter().map(f32::to_bits).collect();
        let expected = reference::pack_mask(reference::nonfinite_keys(&v_ref).data(), s);
        // Bits past the last key repeat it.
        let last = |word: usize| match s % 32 {
            rest if rest > 0 && word % s.div_ceil(32) == s / 32 => (1u32 << rest) - 1,
            _ => u32::MAX,
        };
        let got: Vec<u32> = got[3..].iter().enumerate().map(|(i, word)| word & last(i)).collect();
        assert_eq!(got, expected, "{sizes:?} {dtype}");
    }
}

#[test]
fn combine_splits_is_the_references() {
    use crate::kernels::attention::forward::combine_splits::combine_splits;
    let gpu = gpu();
    // What is kept is multiplied by 1.25.
    let dropout = Dropout { probability: 0.2, ..Dropout::default() };
    for splits in [1, 2, 7] {
        let [b, t, h, d] = [2, 3, 4, 37];
        let (dims, rows) = (dims([b, t, 9, h, 2, d]), b * t * h);
        // Row (b, h, t) of lse in the order (b, t, h) of out.
        let in_out = |row: usize| (row / (h * t) * t + row % t) * h + row / t % h;
        let mut parts = values(splits * rows * d, 1);
        let mut state = values(splits * rows * 2, 2);
        // Row 1 sees nothing in some parts, row 2 nothing at all.
        for (i, pair) in state.chunks_mut(2).enumerate() {
            let empty = i % rows == 2 || (i % rows == 1 && i / rows % 2 == 0 && splits > 1);
            pair.copy_from_slice(&if empty { [-1e38, 0.0] } else { [30.0 * pair[0], 2.0 + pair[1]] });
            if empty {
                let at = i / rows * rows + in_out(i % rows);
                parts[at * d..][..d].fill(0.0);
            }
        }
        let (parts, parts_ref) = tensor(&gpu, &[splits, b, t, h, d], parts, DType::F32);
        let (state, state_ref) = tensor(&gpu, &[splits, rows, 2], state, DType::F32);
        let (out, lse) = (poisoned(&gpu, &[b, t, h, d], DType::F32), poisoned(&gpu, &[b, h, t], DType::F32));
        let slots = [parts.range(), state.range(), out.range(), lse.range()];
        run(&gpu, |pass| combine_splits(pass, &plain(dims, Some(dropout)), splits as u32, slots));
        let mut expected = vec![0.0; rows * d];
        let mut expected_lse = Vec::new();
        for row in 0..rows {
            let at = in_out(row);
            let part = |i: usize| {
                let pair = &state_ref.data()[(i * rows + row) * 2..][..2];
                (pair[0], pair[1], parts_ref.data()[(i * rows + at) * d..][..d].to_vec())
            };
            let parts: Vec<_> = (0..splits).map(part).collect();
            let (mean, row_lse) = reference::combine_splits(&parts, f64::from(1.25f32));
            expected[at * d..][..d].copy_from_slice(&mean);
            expected_lse.push(row_lse);
        }
        check(&format!("merged out of {splits}"), &out, &expected, 1e-5);
        check(&format!("merged lse of {splits}"), &lse, &expected_lse, 1e-6);
    }
}

#[test]
fn peak_really_does_its_multiply_adds() {
    let gpu = gpu();
    for (length, iterations) in [(1, 1), (63, 2), (64, 5), (1000, 40)] {
        for accumulators in crate::kernels::fma_peak::ACCUMULATORS {
            let y = poisoned(&gpu, &[length], DType::F32);
            run(&gpu, |pass| {
                crate::kernels::fma_peak::fma_peak(
                    pass,
                    [accumulators, iterations],
                    [0.75, -0.5],
                    y.range(),
                    length,
                )
            });
            let counted = crate::kernels::fma_peak::multiply_adds(accumulators, iterations);
            let steps = counted as usize / (4 * accumulators as usize);
            let expected = reference::fma_peak(length, accumulators as usize, steps, 0.75, -0.5);
            check(&format!("peak {length} × {accumulators}, {iterations} iterations"), &y, &expected, 1e-5);
        }
    }
}

#[test]
fn gates_and_their_gradients_are_the_references() {
    use crate::kernels::elementwise::gate::gate;
    use crate::kernels::elementwise::gate_backward::gate_backward;
    let gpu = gpu();
    for count in [1, 63, 64, 1000] {
        let scaled = |seed, scale: f32| values(count, seed).iter().map(|x| scale * x).collect::<Vec<_>>();
        let (z, z_ref) = tensor(&gpu, &[count], scaled(1, 9.0), DType::F32);
        let (out, out_ref) = tensor(&gpu, &[count], scaled(2, 1.0), DType::F32);
        let (d_gated, d_ref) = tensor(&gpu, &[count], scaled(3, 2.0), DType::F32);
        let gated = poisoned(&gpu, &[count], DType::F32);
        run(&gpu, |pass| gate(pass, [&z, &out, &gated].map(Tensor::range), count));
        let (gate_ref, gated_ref) = reference::gate(z_ref.data(), out_ref.data());
        check("gate", &z, &gate_ref, 1e-6);
        check("gated", &gated, &gated_ref, 1e-6);
        let penalty = [0.3f32, 0.7];
        run(&gpu, |pass| gate_backward(pass, [&z, &out, &d_gated].map(Tensor::range), count, penalty));
        let (d_out, d_z) =
            reference::gate_backward(&gate_ref, out_ref.data(), d_ref.data(), penalty.map(f64::from));
        check("d_out", &d_gated, &d_out, 1e-6);
        check("d_z", &z, &d_z, 1e-5);
    }
}

#[test]
fn finite_values_stay_and_others_become_0() {
    let gpu = gpu();
    for count in [1, 64, 65, 1000] {
        let mut data = values(count, 1);
        for i in (0..count).step_by(7) {
            data[i] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0][i / 7 % 4];
        }
        let x = tensor(&gpu, &[count], data.clone(), DType::F32).0;
        run(&gpu, |pass| {
            crate::kernels::attention::masks::zero_nonfinite::zero_nonfinite(pass, x.range(), count)
        });
        let data: Vec<f64> = data.iter().map(|&x| f64::from(x)).collect();
        assert_eq!(read(&x), reference::zero_nonfinite(&data));
    }
}

/// A problem in which every query sees every key.
fn plain(dims: Dims, dropout: Option<Dropout>) -> Problem {
    Problem { dims, visibility: Rule::default(), score: Score::scaled(1.0), dropout }
}
