//! The layer on the adapter under test against the reference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(target_arch = "wasm32")]
extern crate gqa_block_on as pollster;

mod common;

use common::sampler::CaseSampler;
use common::{Case, OnGpu, PATHS, gpu, read, upload};
use gqa::{AttentionPath, CallOptions, Config, DType, DTypePolicy, FeatureWidths, Tensor};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;
use pollster::block_on;

fn check(what: &str, case: &Case) {
    if let Err(message) = case.check() {
        panic!("{what}: {message}\n{case:?}");
    }
}

/// D, H, Hkv
fn config(head_dim: usize, query_heads: usize, key_heads: usize) -> Config {
    Config::new(head_dim, query_heads, key_heads)
}

#[test]
fn head_counts() {
    let mut sampler = CaseSampler::new("head counts");
    for (what, heads) in sampler.order([
        ("multi-head", config(4, 5, 5)),
        ("pairs", config(8, 4, 2)),
        ("groups of three", config(7, 6, 2)),
        ("multi-query", config(16, 7, 1)),
        ("one head", config(3, 1, 1)),
        ("wide heads", config(130, 2, 1)),
    ]) {
        let (aligned, groups) = (heads.head_dim % 4 == 0, heads.num_query_heads > heads.num_key_value_heads);
        if sampler.should_run([format!("aligned {aligned}"), format!("groups {groups}")]) {
            check(what, &Case::new(heads, 13, [2, 5, 9]));
        }
    }
}

#[test]
fn sizes() {
    let mut sampler = CaseSampler::new("sizes");
    let sizes = [[1, 1, 1], [1, 1, 300], [3, 17, 67], [2, 8, 64], [2, 9, 65], [1, 70, 3], [5, 2, 31]];
    for sizes in sampler.order(sizes) {
        let [_, t, s] = sizes;
        if !sampler.should_run([format!("few queries {}", t < 8), format!("many keys {}", s > 32)]) {
            continue;
        }
        check("sizes", &Case::new(config(9, 6, 2), 12, sizes));
        let mut causal = Case::new(config(9, 6, 2), 12, sizes);
        causal.causal = true;
        check("causal", &causal);
    }
}

#[test]
fn options_alone_and_together() {
    let mut sampler = CaseSampler::new("options");
    for bits in sampler.order(0..32u32) {
        let on = |bit: u32| bits >> bit & 1 == 1;
        if !sampler.should_run((0..5).map(|bit| format!("option {bit} {}", on(bit)))) {
            continue;
        }
        let mut case = Case::new(config(6, 4, 2), 11, [2, 9, 13]);
        case.config.use_bias = !on(0);
        case.config.use_gate = on(1);
        case.config.sliding_window = on(2).then_some(3);
        case.causal = on(3);
        case.with_key = on(4);
        if on(4) {
            case.widths = FeatureWidths { query: 11, key: 5, value: 17 };
        }
        check("options", &case);
        case.config.dropout = 0.3;
        case.dropout_seed = Some(u64::from(bits) << 33 | 5);
        case.masks = [on(0), on(1), on(2)];
        check("options with masks and dropout", &case);
    }
}

#[test]
fn every_broadcast_of_every_mask_rank() {
    let (b, h, t, s) = (2, 4, 5, 9);
    let mut shapes: Vec<Vec<usize>> = Vec::new();
    for bits in 0..16u32 {
        let pick = |bit: u32, length: usize| if bits >> bit & 1 == 1 { length } else { 1 };
        shapes.push(vec![pick(3, b), pick(2, h), pick(1, t), pick(0, s)]);
        shapes.push(vec![pick(3, b), pick(1, t), pick(0, s)]);
        shapes.push(vec![pick(1, t), pick(0, s)]);
    }
    shapes.sort();
    shapes.dedup();
    assert_eq!(shapes.len(), 16 + 8 + 4);
    for shape in shapes {
        for joined in [false, true] {
            let mut case = Case::new(config(4, h, 2), 10, [b, t, s]);
            case.attention_mask = Some(shape.clone());
            case.masks = [joined; 3];
            case.causal = joined;
            check("mask", &case);
        }
    }
}

#[test]
fn every_dtype_policy_takes_every_input_type() {
    let mut sampler = CaseSampler::new("dtypes");
    let inputs = [DType::F32, DType::F16, DType::Bf16];
    let pairs = DTypePolicy::ALL.into_iter().flat_map(|dtype| inputs.map(|inputs| (dtype, inputs)));
    for (dtype, inputs) in sampler.order(pairs) {
        if !sampler.should_run([format!("policy {dtype}"), format!("inputs {inputs}")]) {
            continue;
        }
        let mut case = Case::new(Config { dtype, use_gate: true, ..config(8, 6, 3) }, 15, [2, 7, 11]);
        case.inputs = inputs;
        case.masks = [true, false, true];
        check("dtype", &case);
    }
}

#[test]
fn fully_masked_rows_give_the_output_bias_and_never_nan() {
    let mut case = Case::new(config(4, 4, 2), 6, [2, 5, 7]);
    case.masks = [true, false, false];
    let mut data = case.data();
    let mut mask = data.query_mask.unwrap();
    mask.data_mut()[1] = false;
    mask.data_mut()[3] = false;
    data.query_mask = Some(mask);
    // What is hidden may be anything.
    data.query.data_mut()[6..12].fill(f32::NAN);
    data.query.data_mut()[18..24].fill(f32::INFINITY);
    let layer = case.layer(gpu());
    let bias = case.weights().attention_output.bias.unwrap();
    for path in PATHS {
        case.path = path;
        let got = case.got(&layer, &data);
        let output = read(&got.attention_output);
        for row in [1, 3] {
            let expected: Vec<f64> = bias.to_f64().into_data();
            assert_eq!(output[row * 6..][..6], expected, "{path:?}");
        }
        assert!(output.iter().all(|x| x.is_finite()), "{path:?}");
        let scores = got.attention_scores.as_ref().map(read).unwrap_or_default();
        assert!(scores.iter().all(|p| (0.0..=1.0001).contains(p)), "{path:?}");
    }
}

#[test]
fn nan_and_infinity_behind_a_mask_do_not_leak() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut case = Case::new(config(4, 4, 2), 6, [2, 5, 40]);
        case.masks = [false, true, false];
        let clean = case.data();
        let mut dirty = case.data();
        for (key, seen) in clean.value_mask.as_ref().unwrap().data().iter().enumerate() {
            if !seen {
                dirty.value.data_mut()[key * 6..][..6].fill(poison);
            }
        }
        let layer = case.layer(gpu());
        for path in PATHS {
            case.path = path;
            let (clean, dirty) = (case.got(&layer, &clean), case.got(&layer, &dirty));
            assert_eq!(read(&clean.attention_output), read(&dirty.attention_output), "{poison} {path:?}");
        }
    }
}

/// y `[M,N]` = x `[M,K]` · w `[K,N]` + bias, in f32 throughout.
fn plain_linear(x: &[f32], projection: &gqa::Projection, n: usize) -> Vec<f32> {
    let (w, bias) = (projection.kernel.data(), projection.bias.as_ref().unwrap().data());
    let k = w.len() / n;
    let element = |row: usize, column: usize| {
        (0..k).fold(0.0, |sum, i| sum + x[row * k + i] * w[i * n + column]) + bias[column]
    };
    (0..x.len() / k * n).map(|i| element(i / n, i % n)).collect()
}

/// Causal self-attention the obvious way in f32: what rounding alone does to a result. Output and scores.
fn plain_causal(case: &Case, weights: &gqa::Weights, data: &common::Data) -> [Vec<f64>; 2] {
    let ([b, t, s], config) = (case.sizes, &case.config);
    let (h, hkv, d) = (config.num_query_heads, config.num_key_value_heads, config.head_dim);
    let q = plain_linear(data.query.data(), &weights.query, h * d);
    let k = plain_linear(data.value.data(), &weights.key, hkv * d);
    let v = plain_linear(data.value.data(), &weights.value, hkv * d);
    let mut out = vec![0.0; b * t * h * d];
    let mut scores = vec![0.0; b * h * t * s];
    for (row, probs) in scores.chunks_mut(s).enumerate() {
        let (bi, hi, ti) = (row / (h * t), row / t % h, row % t);
        let q_row = &q[((bi * t + ti) * h + hi) * d..][..d];
        let start = |si: usize| ((bi * s + si) * hkv + hi / (h / hkv)) * d;
        let seen = (ti + 1).min(s);
        for (si, p) in probs.iter_mut().enumerate().take(seen) {
            let dot = q_row.iter().zip(&k[start(si)..]).fold(0.0, |sum, (q, k)| sum + q * k);
            *p = dot / (d as f32).sqrt();
        }
        let row_max = probs[..seen].iter().copied().fold(f32::MIN, f32::max);
        probs[..seen].iter_mut().for_each(|p| *p = (*p - row_max).exp());
        let row_sum: f32 = probs[..seen].iter().sum();
        probs[..seen].iter_mut().for_each(|p| *p /= row_sum);
        let out_row = &mut out[((bi * t + ti) * h + hi) * d..][..d];
        for (si, p) in probs.iter().enumerate() {
            out_row.iter_mut().zip(&v[start(si)..]).for_each(|(out, v)| *out += p * v);
        }
    }
    let output = plain_linear(&out, &weights.attention_output, case.widths.query);
    [output, scores].map(|values| values.into_iter().map(f64::from).collect())
}

#[test]
fn large_logits_saturate_and_cost_no_more_than_plain_f32_does() {
    let mut case = Case::new(config(16, 4, 2), 16, [2, 9, 33]);
    case.causal = true;
    let mut weights = case.weights();
    for projection in [&mut weights.query, &mut weights.key] {
        projection.kernel = projection.kernel.map(|x| x * 100.0);
    }
    let data = case.data();
    let layer =
        block_on(gqa::GroupedQueryAttention::from_weights(gpu(), case.config.clone(), &weights)).unwrap();
    let got = case.got(&layer, &data);
    case.path = AttentionPath::Fused;
    let fused = read(&case.got(&layer, &data).attention_output);
    let options = gqa::reference::CallOptions { use_causal_mask: true, ..Default::default() };
    let exact = weights.map(gqa::Array::to_f64);
    let (query, value) = (data.query.to_f64(), data.value.to_f64());
    let expected = gqa::reference::call(&case.config, &exact, &query, &value, &options).unwrap();
    let largest = expected.lse.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    assert!((1e4..1e5).contains(&largest), "logits reach {largest}");
    let plain = plain_causal(&case, &weights, &data);
    let scores = read(got.attention_scores.as_ref().unwrap());
    for (what, plain, got, expected) in [
        ("fused", &plain[0], fused, expected.attention_output.data()),
        ("chained", &plain[0], read(&got.attention_output), expected.attention_output.data()),
        ("scores", &plain[1], scores, expected.attention_scores.data()),
    ] {
        // One part in a hundred is far above what rounding does here, and far below what a mistake does.
        let rounding = common::compare::compare(what, plain, expected, 1e-2).unwrap();
        common::compare::compare(what, &got, expected, f64::max(2.0 * rounding, 1e-5)).unwrap();
    }
}

#[test]
fn a_batch_split_over_calls_drops_the_same_elements() {
    let mut whole = Case::new(Config { dropout: 0.4, ..config(4, 4, 2) }, 8, [4, 6, 9]);
    whole.dropout_seed = Some(99);
    let data = whole.data();
    let layer = whole.layer(gpu());
    for path in PATHS {
        whole.path = path;
        let all = read(&whole.got(&layer, &data).attention_output);
        for (first, count) in [(0usize, 1usize), (1, 3), (2, 2)] {
            let mut part = whole.clone();
            part.sizes[0] = count;
            part.batch_offset = first as u32;
            let mut slice = part.data();
            slice.query.data_mut().copy_from_slice(&data.query.data()[first * 48..][..count * 48]);
            slice.value.data_mut().copy_from_slice(&data.value.data()[first * 72..][..count * 72]);
            let got = read(&part.got(&layer, &slice).attention_output);
            assert_eq!(got, all[first * 48..][..count * 48], "batch elements {first}..{}", first + count);
        }
    }
}

#[test]
fn queries_split_over_calls_see_and_drop_the_same() {
    let mut whole =
        Case::new(Config { dropout: 0.4, sliding_window: Some(4), ..config(4, 4, 2) }, 8, [1, 9, 9]);
    whole.dropout_seed = Some(99);
    whole.causal = true;
    let data = whole.data();
    let layer = whole.layer(gpu());
    for path in PATHS {
        whole.path = path;
        let all = read(&whole.got(&layer, &data).attention_output);
        for (first, count) in [(0usize, 4usize), (4, 5), (8, 1)] {
            let mut part = whole.clone();
            part.sizes[1] = count;
            part.q_offset = first as u32;
            let mut slice = part.data();
            slice.query.data_mut().copy_from_slice(&data.query.data()[first * 8..][..count * 8]);
            slice.value = data.value.clone();
            let got = read(&part.got(&layer, &slice).attention_output);
            assert_eq!(got, all[first * 8..][..count * 8], "queries {first}..{}", first + count);
        }
    }
}

#[test]
fn long_sequences_are_run_in_parts_that_fit() {
    // 8 · 2,100² probabilities are 141 MB, more than one part takes.
    let mut case = Case::new(Config { dropout: 0.1, ..config(2, 8, 2) }, 4, [1, 2100, 2100]);
    case.causal = true;
    case.masks = [true, true, false];
    case.dropout_seed = Some(1);
    let data = case.data();
    let layer = case.layer(gpu());
    let inputs = upload(gpu(), &case, &data);
    let expected = case.expected(&data).attention_output;
    for path in PATHS {
        let options = CallOptions { path: Some(path), ..inputs.options(&case, false) };
        let got = block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
        let got = read(&got.attention_output);
        common::compare::compare(&format!("{path:?}"), &got, expected.data(), 1e-5).unwrap();
    }
}

#[test]
fn the_path_is_chosen_by_what_is_asked_and_told() {
    let mut case = Case::new(config(4, 4, 2), 8, [1, 8, 9]);
    let layer = case.layer(gpu());
    let mut path = |queries: usize, options: &CallOptions<'_>| {
        case.sizes[1] = queries;
        let inputs = upload(gpu(), &case, &case.data());
        block_on(layer.call(&inputs.query, &inputs.value, options)).map(|output| output.path)
    };
    let plain = CallOptions::default();
    assert_eq!(path(8, &plain), Ok(AttentionPath::Fused));
    assert_eq!(path(1, &plain), Ok(AttentionPath::Fused));
    let scores = CallOptions { return_attention_scores: true, ..plain };
    assert_eq!(path(8, &scores), Ok(AttentionPath::Chained));
    let fused = CallOptions { path: Some(AttentionPath::Fused), ..plain };
    assert_eq!(path(1, &fused), Ok(AttentionPath::Fused));
    let refused = path(8, &CallOptions { return_attention_scores: true, ..fused }).unwrap_err().to_string();
    assert!(refused.contains("`path`") && refused.contains("return_attention_scores"), "{refused}");
}

#[test]
fn scores_are_those_before_dropout_and_inference_drops_nothing() {
    let mut case = Case::new(Config { dropout: 0.5, ..config(4, 4, 2) }, 8, [1, 6, 9]);
    let data = case.data();
    let layer = case.layer(gpu());
    let plain = case.got(&layer, &data);
    assert_eq!(plain.dropout_seed, None);
    case.dropout_seed = Some(3);
    let dropped = case.got(&layer, &data);
    assert_eq!(dropped.dropout_seed, Some(3));
    let scores = |output: &gqa::CallOutput| read(output.attention_scores.as_ref().unwrap());
    assert_eq!(scores(&plain), scores(&dropped));
    assert_ne!(read(&plain.attention_output), read(&dropped.attention_output));
}

#[test]
fn calls_without_a_seed_differ_and_can_be_repeated() {
    let mut case = Case::new(Config { dropout: 0.5, seed: Some(11), ..config(4, 4, 2) }, 8, [1, 6, 9]);
    let data = case.data();
    let layer = case.layer(gpu());
    let inputs = upload(gpu(), &case, &data);
    let options = CallOptions { training: true, ..Default::default() };
    let first = block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
    let second = block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
    assert_ne!(first.dropout_seed, second.dropout_seed);
    assert_ne!(read(&first.attention_output), read(&second.attention_output));
    // The other path drops the same.
    case.dropout_seed = first.dropout_seed;
    let (got, expected) = (read(&case.got(&layer, &data).attention_output), read(&first.attention_output));
    common::compare::compare("the same seed", &got, &expected, 1e-5).unwrap();
    // A layer of the same seed goes through the same patterns, and what runs nothing takes none of them.
    let layer = case.layer(gpu());
    let output = block_on(layer.allocate_output(&inputs.query, &inputs.value, &options)).unwrap();
    drop(output);
    let again = block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
    assert_eq!(again.dropout_seed, first.dropout_seed);
    assert_eq!([first.dropout_seed, second.dropout_seed], [0, 1].map(|call| case.config.dropout_seed(call)));
}

#[test]
fn the_same_call_gives_the_same_bits_whatever_ran_before() {
    let mut case = Case::new(Config { use_gate: true, dropout: 0.1, ..config(8, 6, 2) }, 15, [2, 17, 33]);
    case.masks = [true; 3];
    case.dropout_seed = Some(1);
    let data = case.data();
    let layer = case.layer(gpu());
    for (round, path) in [PATHS, PATHS].concat().into_iter().enumerate() {
        case.path = path;
        let first = read(&case.got(&layer, &data).attention_output);
        // Leaves other values in the intermediate buffers that the next call takes.
        let mut other = Case::new(config(8, 6, 2), 15, [2, 18 + round, 35]);
        other.seed = 7;
        let mut noise = other.data();
        noise.value.data_mut().fill(f32::NAN);
        other.got(&other.layer(gpu()), &noise);
        assert_eq!(read(&case.got(&layer, &data).attention_output), first);
    }
}

#[test]
fn encode_writes_poisoned_outputs_whole_and_submits_nothing_itself() {
    for dtype in [DTypePolicy::Float32, DTypePolicy::MixedFloat16] {
        let case = Case::new(Config { dtype, ..config(5, 6, 2) }, 7, [1, 5, 9]);
        let data = case.data();
        let layer = case.layer(gpu());
        let expected = case.got(&layer, &data);
        let inputs = upload(gpu(), &case, &data);
        let options = inputs.options(&case, true);
        let poison = |tensor: &Tensor| {
            let count = tensor.shape().iter().product();
            let poison = gqa::Array::new(tensor.shape(), vec![777.0; count]).unwrap();
            block_on(Tensor::from_array(gpu(), &poison, tensor.dtype())).unwrap()
        };
        let mut output = block_on(layer.allocate_output(&inputs.query, &inputs.value, &options)).unwrap();
        output.attention_output = poison(&output.attention_output);
        output.attention_scores = output.attention_scores.as_ref().map(poison);
        let mut encoder = gpu().device().create_command_encoder(&Default::default());
        layer.encode(&mut encoder, &inputs.query, &inputs.value, &options, &output).unwrap();
        assert!(read(&output.attention_output).iter().all(|&x| x == 777.0), "submitted too early");
        gpu().queue().submit([encoder.finish()]);
        assert_eq!(read(&output.attention_output), read(&expected.attention_output));
        let scores = |scores: &Option<Tensor>| read(scores.as_ref().unwrap());
        assert_eq!(scores(&output.attention_scores), scores(&expected.attention_scores));
    }
}

#[test]
fn two_encoders_in_flight_do_not_disturb_each_other() {
    let mut case = Case::new(Config { dropout: 0.3, ..config(4, 4, 2) }, 8, [1, 6, 9]);
    let data = case.data();
    let layer = case.layer(gpu());
    let inputs = upload(gpu(), &case, &data);
    let mut recorded = Vec::new();
    for seed in [1, 2] {
        case.dropout_seed = Some(seed);
        let expected = read(&case.got(&layer, &data).attention_output);
        let options = inputs.options(&case, false);
        let output = block_on(layer.allocate_output(&inputs.query, &inputs.value, &options)).unwrap();
        let mut encoder = gpu().device().create_command_encoder(&Default::default());
        layer.encode(&mut encoder, &inputs.query, &inputs.value, &options, &output).unwrap();
        recorded.push((encoder.finish(), output, expected));
    }
    recorded.reverse();
    for (commands, output, expected) in recorded {
        gpu().queue().submit([commands]);
        assert_eq!(read(&output.attention_output), expected);
    }
}

#[test]
fn attention_alone_is_the_references() {
    let gpu = gpu();
    for (case, dtype) in [DType::F32, DType::F16, DType::Bf16].into_iter().enumerate() {
        let (b, t, s, h, hkv, d) = (2, 5 + case, 37, 6, 3, 11);
        let make = |shape: &[usize], seed| {
            let array = common::values(shape, seed);
            let tensor = block_on(Tensor::from_array(gpu, &array, dtype)).unwrap();
            (tensor, gqa::reference::cast(&array.to_f64(), dtype))
        };
        let (q, q_ref) = make(&[b, t, h, d], 1);
        let (k, k_ref) = make(&[b, s, hkv, d], 2);
        let (v, v_ref) = make(&[b, s, hkv, d], 3);
        let mut mask = common::bools(&[b, h, t, s], 4);
        mask.data_mut()[..s].fill(false); // nothing to see for (0, 0, 0)
        let mask_tensor = block_on(Tensor::from_mask(gpu, &mask)).unwrap();
        let dropout = gqa::Dropout { probability: 0.2, seed: 5, q_offset: 2, batch_offset: 0 };
        let options = gqa::AttentionOptions {
            scale: Some(0.7),
            use_causal_mask: true,
            sliding_window: Some(30),
            attention_mask: Some(&mask_tensor),
            q_offset: 2,
            dropout: Some(dropout),
            return_attention_scores: true,
            ..Default::default()
        };
        let got = block_on(gqa::scaled_dot_product_attention(&q, &k, &v, &options)).unwrap();
        let visibility = gqa::reference::Visibility {
            causal: true,
            window: Some(30),
            q_offset: 2,
            attention_mask: Some(&mask),
            ..Default::default()
        };
        let options = gqa::reference::AttentionOptions {
            score: gqa::reference::ScoreRule::scaled(f64::from(0.7f32)),
            visibility,
            dropout: Some(dropout),
        };
        let expected = gqa::reference::attention_forward(&q_ref, &k_ref, &v_ref, &options).unwrap();
        let check = |what: &str, got: &Tensor, expected: &[f64]| {
            let tolerance = got.dtype().tolerance();
            common::compare::compare(what, &read(got), expected, tolerance).unwrap();
        };
        check("output", &got.output, expected.output.data());
        check("lse", &got.lse, &expected.lse);
        assert_eq!(expected.lse[0], f64::NEG_INFINITY);
        check("scores", got.attention_scores.as_ref().unwrap(), expected.scores.data());
    }
}

/// proptest finds its cases by chance, which browsers don't give it.
#[cfg(not(target_arch = "wasm32"))]
#[path = "layer/any_call.rs"]
mod any_call;
