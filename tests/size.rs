//! Long sequences: memory that does not grow with T × S, and tensors larger than one binding.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gqa::{
    AttentionOptions, CallOptions, Config, DType, FeatureWidths, Gpu, GroupedQueryAttention, Tensor,
    allocate_attention_output, encode_scaled_dot_product_attention, scaled_dot_product_attention,
};
use pollster::block_on;

/// Values in [−1, 1) that follow from their index, and differ between neighbours and far apart.
fn value(i: usize, seed: u32) -> f32 {
    let mixed = (i as u32).wrapping_mul(0x9e37_79b9).wrapping_add(seed.wrapping_mul(0x85eb_ca6b));
    ((mixed ^ mixed >> 15).wrapping_mul(0x2c1b_3c6d) >> 8) as f32 / 8_388_608.0 - 1.0
}

#[test]
fn a_long_causal_call_allocates_less_than_four_times_its_operands() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let (t, h, d) = (32_768, 8, 64);
    let bytes = (4 * t * h * d * 4) as u64; // q, k, v and out
    let empty = || block_on(Tensor::empty(&gpu, [1, t, h, d], DType::F32)).unwrap();
    let before = gpu.usage();
    let [q, k, v] = [empty(), empty(), empty()];
    let options = AttentionOptions { use_causal_mask: true, ..Default::default() };
    let output = block_on(allocate_attention_output(&q, &k, &v, &options)).unwrap();
    // What it takes shows when it is recorded; running it would show no more.
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    encode_scaled_dot_product_attention(&mut encoder, &q, &k, &v, &options, &output).unwrap();
    let after = gpu.usage();
    let taken = after.tensor_bytes + after.workspace_bytes - before.tensor_bytes - before.workspace_bytes;
    assert!(taken >= bytes && taken < bytes * 5 / 4, "{taken} bytes for operands of {bytes}");
    assert!(after.dispatches > before.dispatches + 10, "one dispatch would run for too long");
}

#[test]
fn a_sequence_of_131072_runs_though_q_is_larger_than_a_binding() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let (t, h, hkv, d, window) = (131_072, 6, 2, 52, 40);
    let make = |heads: usize, seed: u32| -> Vec<f32> { (0..t * heads * d).map(|i| value(i, seed)).collect() };
    let (q, k, v) = (make(h, 1), make(hkv, 2), make(hkv, 3));
    let upload = |heads: usize, data: &[f32]| block_on(Tensor::from_slice(&gpu, [1, t, heads, d], data));
    let tensors = (upload(h, &q).unwrap(), upload(hkv, &k).unwrap(), upload(hkv, &v).unwrap());
    let options =
        AttentionOptions { use_causal_mask: true, sliding_window: Some(window), ..Default::default() };
    let output =
        block_on(scaled_dot_product_attention(&tensors.0, &tensors.1, &tensors.2, &options)).unwrap();
    let out = block_on(output.output.to_vec::<f32>()).unwrap();
    let lse = block_on(output.lse.to_vec::<f32>()).unwrap();
    assert_eq!((out.len(), lse.len()), (t * h * d, t * h));
    // Rows near both ends, around where bindings end, and in between.
    let rows = [0, 1, 39, 40, 53_772, 65_535, 65_536, 107_544, 107_546, 131_071];
    for t_at in rows.into_iter().chain((0..t).step_by(9973)) {
        for head in 0..h {
            let row = |data: &[f32], position: usize, heads: usize, head: usize| -> Vec<f64> {
                let at = (position * heads + head) * d;
                data[at..at + d].iter().map(|&x| f64::from(x)).collect()
            };
            let query = row(&q, t_at, h, head);
            let keys: Vec<usize> = (t_at.saturating_sub(window - 1)..=t_at).collect();
            let dot = |key: &Vec<f64>| key.iter().zip(&query).map(|(a, b)| a * b).sum::<f64>();
            let scores: Vec<f64> =
                keys.iter().map(|&s| dot(&row(&k, s, hkv, head / 3)) / (d as f64).sqrt()).collect();
            let total = scores.iter().map(|score| score.exp()).sum::<f64>();
            let got = f64::from(lse[head * t + t_at]);
            assert!((got - total.ln()).abs() <= 1e-5, "lse at {t_at}, {head}: {got}, not {}", total.ln());
            let mut expected = vec![0.0; d];
            for (&s, score) in keys.iter().zip(&scores) {
                let value = row(&v, s, hkv, head / 3);
                expected.iter_mut().zip(value).for_each(|(sum, x)| *sum += x * score.exp() / total);
            }
            for (got, expected) in row(&out, t_at, h, head).iter().zip(expected) {
                assert!((got - expected).abs() <= 1e-5, "out at {t_at}, {head}: {got}, not {expected}");
            }
        }
    }
}

#[test]
fn the_gradients_of_a_long_call_take_memory_for_t_and_not_for_t_times_s() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let (t, h, d, c) = (16_384, 2, 16, 16);
    let widths = FeatureWidths::all(c);
    let layer = block_on(GroupedQueryAttention::new(&gpu, Config::new(d, h, 1), widths, 1)).unwrap();
    let x: Vec<f32> = (0..t * c).map(|i| value(i, 1)).collect();
    let x = block_on(Tensor::from_slice(&gpu, [1, t, c], &x)).unwrap();
    let options = CallOptions { use_causal_mask: true, training: true, ..Default::default() };
    let before = gpu.usage();
    let (called, tape) = block_on(layer.call_with_tape(&x, &x, &options)).unwrap();
    let gradients = block_on(tape.backward(&x)).unwrap();
    let after = gpu.usage();
    let taken = after.tensor_bytes + after.workspace_bytes - before.tensor_bytes - before.workspace_bytes;
    // In units of q: q, out, dq, d_out, two transposed inputs, and the narrower rest.
    let q = (t * h * d * 4) as u64;
    assert!(taken >= 6 * q && taken <= 12 * q, "{:.1} times the bytes of q", taken as f64 / q as f64);
    let finite = |tensor: &Tensor| block_on(tensor.to_vec::<f32>()).unwrap().iter().all(|x| x.is_finite());
    assert!(finite(&gradients.value) && finite(&gradients.query));
    drop(called);
}
