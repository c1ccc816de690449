//! The gradients of the layer: against the reference's, those against finite differences, and what else is promised of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(target_arch = "wasm32")]
extern crate gqa_block_on as pollster;

mod common;

use common::compare::compare;
use common::sampler::CaseSampler;
use common::{Case, Data, OnGpu, gpu, read, upload, values};
use gqa::{
    Array, AttentionPath, Config, DType, DTypePolicy, FeatureWidths, GroupedQueryAttention, OrthogonalMode,
    Regularizer, Tensor, Weights, reference,
};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;
use pollster::block_on;

fn config(head_dim: usize, heads: usize, key_heads: usize) -> Config {
    Config::new(head_dim, heads, key_heads)
}

fn l1_l2(l1: f64, l2: f64) -> Option<Regularizer> {
    Some(Regularizer::L1L2 { l1, l2 })
}

/// Every option alone, and some together; sizes differ from each other and are off every tile.
fn cases() -> Vec<(&'static str, Case)> {
    let plain = || Case::new(config(5, 4, 2), 7, [2, 9, 11]);
    let with = |change: &dyn Fn(&mut Case)| {
        let mut case = plain();
        change(&mut case);
        case
    };
    let mut all = vec![
        ("plain", plain()),
        ("causal", with(&|case| case.causal = true)),
        ("window", with(&|case| case.config.sliding_window = Some(3))),
        ("attention mask", with(&|case| case.attention_mask = Some(vec![2, 4, 9, 11]))),
        ("broadcast mask", with(&|case| case.attention_mask = Some(vec![9, 1]))),
        ("query mask", with(&|case| case.masks[0] = true)),
        ("value mask", with(&|case| case.masks[1] = true)),
        ("key mask", with(&|case| case.masks[2] = true)),
        ("key", with(&|case| case.with_key = true)),
        ("gate", with(&|case| case.config.use_gate = true)),
        ("no bias", with(&|case| case.config.use_bias = false)),
        ("q_offset", with(&|case| (case.causal, case.q_offset) = (true, 4))),
        (
            "dropout",
            with(&|case| (case.config.dropout, case.dropout_seed, case.batch_offset) = (0.3, Some(11), 5)),
        ),
        ("l1 and l2 of kernels", with(&|case| case.config.kernel_regularizer = l1_l2(0.02, 0.03))),
        ("l1 of biases", with(&|case| case.config.bias_regularizer = Some(Regularizer::L1 { l1: 0.1 }))),
        (
            "activity",
            with(&|case| {
                case.config.activity_regularizer = Some(Regularizer::L2 { l2: 0.03 });
                case.config.use_gate = true;
            }),
        ),
        (
            "activity with kinks",
            with(&|case| {
                case.config.activity_regularizer = l1_l2(0.02, 0.03);
                case.config.use_gate = true;
            }),
        ),
        (
            "not trainable",
            with(&|case| {
                case.config.kernel_regularizer = l1_l2(0.02, 0.03);
                case.config.trainable = false;
            }),
        ),
    ];
    for mode in [OrthogonalMode::Rows, OrthogonalMode::Columns] {
        let orthogonal = Some(Regularizer::Orthogonal { factor: 2.0, mode });
        all.push(("orthogonal", with(&|case| case.config.kernel_regularizer = orthogonal.clone())));
    }
    let everything = |dtype| {
        let mut case = Case::new(
            Config {
                dropout: 0.2,
                sliding_window: Some(6),
                use_gate: true,
                kernel_regularizer: l1_l2(0.001, 0.002),
                bias_regularizer: Some(Regularizer::L2 { l2: 0.1 }),
                activity_regularizer: Some(Regularizer::L2 { l2: 0.001 }),
                dtype,
                ..config(12, 6, 2)
            },
            8,
            [3, 20, 17],
        );
        case.widths = FeatureWidths { query: 8, key: 6, value: 10 };
        case.with_key = true;
        case.causal = true;
        case.attention_mask = Some(vec![3, 1, 20, 17]);
        case.masks = [true; 3];
        case.dropout_seed = Some(3);
        case.inputs = dtype.compute_dtype();
        case
    };
    all.extend(DTypePolicy::ALL.map(|dtype| ("everything", everything(dtype))));
    // Sizes that fill vectors and more than one tile.
    let mut large = Case::new(config(64, 8, 2), 96, [1, 70, 70]);
    large.causal = true;
    all.push(("large", large));
    let mut wide = Case::new(config(260, 2, 1), 8, [1, 5, 6]);
    wide.causal = true;
    all.push(("wide heads", wide));
    all
}

fn d_output(case: &Case) -> Array {
    let [b, t, _] = case.sizes;
    values(&[b, t, case.widths.query], 77)
}

/// The gradients by the names that files use, and the regularization loss.
type Named = Vec<(String, Vec<f64>)>;

fn expected(case: &Case, data: &Data, weights: &Weights) -> (Named, f64) {
    let exact = weights.map(Array::to_f64);
    let key = data.key.as_ref().map(Array::to_f64);
    let options = case.reference_options(data, key.as_ref());
    let (query, value) = (data.query.to_f64(), data.value.to_f64());
    let loss = reference::call(&case.config, &exact, &query, &value, &options).unwrap().regularization_loss;
    let d_output = d_output(case).to_f64();
    let got = reference::backward(&case.config, &exact, &query, &value, &options, &d_output).unwrap();
    let mut all: Named =
        got.weights.named().into_iter().map(|(name, array)| (name, array.data().to_vec())).collect();
    all.push(("query".into(), got.query.into_data()));
    all.push(("value".into(), got.value.into_data()));
    all.extend(got.key.map(|key| ("key".into(), key.into_data())));
    (all, loss)
}

fn got(case: &Case, layer: &GroupedQueryAttention, data: &Data) -> (Named, Option<f64>) {
    let inputs = upload(layer.gpu(), case, data);
    let d_output = block_on(Tensor::from_array(layer.gpu(), &d_output(case), DType::F32)).unwrap();
    let mut options = inputs.options(case, false);
    options.path = None;
    let (called, tape) = block_on(layer.call_with_tape(&inputs.query, &inputs.value, &options)).unwrap();
    assert_eq!(called.dropout_seed, case.dropout_seed);
    let loss = tape.regularization_loss().map(|loss| read(loss)[0]);
    let gradients = block_on(tape.backward(&d_output)).unwrap();
    let mut all: Named =
        gradients.weights.named().into_iter().map(|(name, tensor)| (name, read(tensor))).collect();
    all.push(("query".into(), read(&gradients.query)));
    all.push(("value".into(), read(&gradients.value)));
    all.extend(gradients.key.as_ref().map(|key| ("key".into(), read(key))));
    (all, loss)
}

#[test]
fn gradients_are_the_references_with_every_option() {
    let (mut failures, mut sampler) = (Vec::new(), CaseSampler::new("gradients"));
    for (what, case) in sampler.order(cases()) {
        let config = &case.config;
        let terms = [&config.kernel_regularizer, &config.bias_regularizer, &config.activity_regularizer];
        let traits = [
            format!("policy {}", config.dtype),
            format!("heads of {}", config.head_dim),
            format!("dropout {}", case.dropout_seed.is_some()),
            format!("gate {}", config.use_gate),
            format!("bias {}", config.use_bias),
            format!("key {}", case.with_key),
        ];
        let terms = terms.into_iter().flatten().map(|term| format!("{:?}", std::mem::discriminant(term)));
        if !sampler.should_run(traits.into_iter().chain(terms)) {
            continue;
        }
        let (data, weights) = (case.data(), case.rounded_weights().unwrap());
        let layer =
            block_on(GroupedQueryAttention::from_weights(gpu(), case.config.clone(), &weights)).unwrap();
        let (expected, expected_loss) = expected(&case, &data, &weights);
        let (got, loss) = got(&case, &layer, &data);
        // Operands are rounded alike; the output that an activity regularizer sees is rounded on one side only.
        let dtype = case.config.dtype.compute_dtype();
        let tolerance = if dtype == DType::F32 { 2e-5 } else { dtype.tolerance() };
        let what = format!("{what}, {}", case.config.dtype);
        assert_eq!(got.len(), expected.len());
        for ((name, got), (expected_name, expected)) in got.iter().zip(&expected) {
            assert_eq!(name, expected_name);
            // What is 0 but for rounding, as that of the key's bias, is no scale to measure by.
            let expected: Vec<f64> =
                expected.iter().map(|&x| if x.abs() < 1e-12 { 0.0 } else { x }).collect();
            if let Err(failure) = compare(&format!("{what}: {name}"), got, &expected, tolerance) {
                failures.push(failure);
            }
        }
        if let Err(failure) =
            compare(&format!("{what}: loss"), &[loss.unwrap_or(0.0)], &[expected_loss], tolerance)
        {
            failures.push(failure);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// `Σ d_output ∘ attention_output + regularization_loss` on the reference.
fn objective(case: &Case, data: &Data, weights: &Weights<Array<f64>>, inputs: &[Array<f64>; 3]) -> f64 {
    let [query, value, key] = inputs;
    let options = case.reference_options(data, case.with_key.then_some(key));
    let called = reference::call(&case.config, weights, query, value, &options).unwrap();
    let d_output = d_output(case);
    let products = called.attention_output.data().iter().zip(d_output.data()).map(|(x, &d)| x * f64::from(d));
    products.sum::<f64>() + called.regularization_loss
}

/// Central differences in f64, of two steps that cancel the error of either. The reference rounds what it is given to f32, so
/// steps are between values of f32. Values are far from 0 for their step, where |x| has a kink.
#[test]
fn the_references_gradients_are_finite_differences() {
    const STEP: f64 = 1e-3;
    for (what, case) in cases() {
        if case.config.dtype != DTypePolicy::Float32 || case.widths.query > 50 || what.contains("kinks") {
            continue;
        }
        let (data, weights) = (case.data(), case.weights());
        let (expected, _) = expected(&case, &data, &weights);
        let exact = weights.map(Array::to_f64);
        let key = data.key.as_ref().unwrap_or(&data.value).to_f64();
        let inputs = [data.query.to_f64(), data.value.to_f64(), key];
        for (name, gradient) in &expected {
            let scale = gradient.iter().fold(0.0, |most: f64, x| most.max(x.abs())).max(1e-3);
            // Some elements of each, first and last among them.
            for i in (0..gradient.len()).step_by((gradient.len() / 5).max(1)).chain([gradient.len() - 1]) {
                let at = |step: f64| {
                    let moved = std::cell::Cell::new(f64::NAN);
                    let nudge = |own: &str, array: &Array<f64>| {
                        let mut array = array.clone();
                        if own == name {
                            let x = array.data()[i];
                            array.data_mut()[i] = f64::from((x + step) as f32);
                            moved.set(array.data()[i] - x);
                        }
                        array
                    };
                    let mut names = exact.named().into_iter().map(|(name, _)| name);
                    let weights = exact.map(|weight| nudge(&names.next().unwrap(), weight));
                    let inputs =
                        [nudge("query", &inputs[0]), nudge("value", &inputs[1]), nudge("key", &inputs[2])];
                    (objective(&case, &data, &weights, &inputs), moved.get())
                };
                let slope = |step: f64| {
                    let ((ahead, to), (behind, from)) = (at(step), at(-step));
                    (ahead - behind) / (to - from)
                };
                let difference = (4.0 * slope(STEP) - slope(2.0 * STEP)) / 3.0;
                let error = (difference - gradient[i]).abs() / scale;
                assert!(error <= 1e-5, "{what}: {name}[{i}] is {}, by differences {difference}", gradient[i]);
            }
        }
    }
}

#[test]
fn gradients_are_the_same_bits_20_times_and_for_both_paths_nearly() {
    let (_, case) = cases().into_iter().find(|(what, _)| *what == "everything").unwrap();
    let (data, layer) = (case.data(), case.layer(gpu()));
    let first = got(&case, &layer, &data);
    for run in 1..20 {
        assert!(got(&case, &layer, &data) == first, "run {run} gave other bits");
    }
    let inputs = upload(gpu(), &case, &data);
    let d_output = block_on(Tensor::from_array(gpu(), &d_output(&case), DType::F32)).unwrap();
    let mut options = inputs.options(&case, false);
    options.path = Some(AttentionPath::Chained);
    let (_, tape) = block_on(layer.call_with_tape(&inputs.query, &inputs.value, &options)).unwrap();
    let gradients = block_on(tape.backward(&d_output)).unwrap();
    compare("query", &read(&gradients.query), &first.0[first.0.len() - 3].1, 2e-5).unwrap();
}

#[test]
fn nan_and_infinity_behind_a_mask_do_not_leak_into_any_gradient() {
    let mut case = Case::new(config(8, 4, 2), 12, [2, 9, 11]);
    case.masks = [true, true, false];
    case.with_key = true;
    let (clean, layer) = (case.data(), case.layer(gpu()));
    let mut wild = case.data();
    let plant = |array: &mut Array, mask: &Array<bool>| {
        for (row, seen) in array.data_mut().chunks_mut(12).zip(mask.data()) {
            if !seen {
                row.fill(f32::NAN);
                row[3] = f32::INFINITY;
            }
        }
    };
    plant(&mut wild.query, clean.query_mask.as_ref().unwrap());
    plant(&mut wild.value, clean.value_mask.as_ref().unwrap());
    plant(wild.key.as_mut().unwrap(), clean.value_mask.as_ref().unwrap());
    let (expected, got) = (got(&case, &layer, &clean).0, got(&case, &layer, &wild).0);
    for ((name, expected), (_, got)) in expected.iter().zip(&got) {
        compare(name, got, expected, 1e-6).unwrap();
    }
}

#[test]
fn attention_alone_has_gradients_in_every_type() {
    let (b, t, s, h, hkv, d) = (2, 9, 21, 6, 2, 10);
    let key_mask = common::bools(&[b, s], 8);
    let mask = block_on(Tensor::from_mask(gpu(), &key_mask)).unwrap();
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        let operand = |shape: &[usize], seed: u32| {
            let array = values(shape, seed).map(|&x| dtype.round(x));
            (block_on(Tensor::from_array(gpu(), &array, dtype)).unwrap(), array.to_f64())
        };
        let (q, k, v) = (operand(&[b, t, h, d], 1), operand(&[b, s, hkv, d], 2), operand(&[b, s, hkv, d], 3));
        let d_out = operand(&[b, t, h, d], 4);
        let dropout = Some(gqa::Dropout { probability: 0.2, seed: 5, ..Default::default() });
        let options = gqa::AttentionOptions {
            scale: Some(0.7),
            use_causal_mask: true,
            q_offset: 10,
            key_mask: Some(&mask),
            dropout,
            ..Default::default()
        };
        let attended = block_on(gqa::scaled_dot_product_attention(&q.0, &k.0, &v.0, &options)).unwrap();
        let got = block_on(gqa::scaled_dot_product_attention_backward(
            &q.0, &k.0, &v.0, &attended, &d_out.0, &options,
        ))
        .unwrap();
        let visibility = reference::Visibility {
            causal: true,
            q_offset: 10,
            key_mask: Some(&key_mask),
            ..Default::default()
        };
        let options = reference::AttentionOptions {
            score: reference::ScoreRule::scaled(f64::from(0.7f32)),
            visibility,
            dropout,
        };
        let expected = reference::attention_backward(&q.1, &k.1, &v.1, &d_out.1, &options).unwrap();
        for (name, got, expected) in
            [("dq", got.dq, expected.dq), ("dk", got.dk, expected.dk), ("dv", got.dv, expected.dv)]
        {
            // What is rounded to a half type is out, of which delta is made.
            let tolerance = dtype.tolerance();
            compare(&format!("{name} {dtype}"), &read(&got), expected.data(), tolerance).unwrap();
        }
    }
}

#[test]
fn a_training_step_that_repeats_makes_nothing_new() {
    use gqa::training::{Optimizer, mean_squared_error};
    let gpu = block_on(gqa::Gpu::from_env()).unwrap();
    let (_, case) = cases().into_iter().find(|(what, _)| *what == "everything").unwrap();
    let data = case.data();
    let (mut layer, inputs) = (case.layer(&gpu), upload(&gpu, &case, &data));
    let target = block_on(Tensor::from_array(&gpu, &d_output(&case), DType::F32)).unwrap();
    let mut optimizer = Optimizer::adam().with_global_clipnorm(Some(1.0));
    let mut options = inputs.options(&case, false);
    (options.path, options.seed) = (None, None);
    let mut step = || {
        let (called, tape) = block_on(layer.call_with_tape(&inputs.query, &inputs.value, &options)).unwrap();
        let loss = block_on(mean_squared_error(&called.attention_output, &target)).unwrap();
        let gradients = block_on(tape.backward(&loss.gradient)).unwrap();
        block_on(layer.step(&mut optimizer, &gradients)).unwrap();
        read(&loss.value)[0]
    };
    let first = step();
    step();
    step();
    let warm = gpu.usage();
    let mut last = f64::NAN;
    for _ in 0..10 {
        last = step();
    }
    let after = gpu.usage();
    assert!(last < first, "{last}, at first {first}");
    assert_eq!(
        (after.pipelines, after.buffers, after.bind_groups, after.tensor_bytes, after.workspace_bytes),
        (warm.pipelines, warm.buffers, warm.bind_groups, warm.tensor_bytes, warm.workspace_bytes)
    );
}

#[test]
fn mistakes_in_training_are_told() {
    use gqa::Constraint;
    use gqa::training::Optimizer;
    let case = Case::new(config(4, 4, 2), 6, [2, 3, 5]);
    let data = case.data();
    let (layer, inputs) = (case.layer(gpu()), upload(gpu(), &case, &data));
    let options = inputs.options(&case, false);
    let tape = || block_on(layer.call_with_tape(&inputs.query, &inputs.value, &options)).unwrap().1;
    let tensor =
        |shape: &[usize]| block_on(Tensor::from_array(gpu(), &values(shape, 1), DType::F32)).unwrap();
    let refuses = |result: gqa::Result<()>, parts: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    refuses(
        block_on(tape().backward(&tensor(&[2, 3, 7]))).map(drop),
        &["`d_output`", "[2, 3, 6]", "[2, 3, 7]"],
    );
    let mask = block_on(Tensor::from_mask(gpu(), &common::bools(&[2, 3, 6], 1))).unwrap();
    refuses(block_on(tape().backward(&mask)).map(drop), &["`d_output`", "f32", "bool"]);
    let elsewhere = block_on(gqa::Gpu::from_env()).unwrap();
    let other = block_on(Tensor::from_array(&elsewhere, &values(&[2, 3, 6], 1), DType::F32)).unwrap();
    refuses(block_on(tape().backward(&other)).map(drop), &["`d_output`", "on another"]);

    let call = |change: &dyn Fn(&mut Config), scores: bool| {
        let mut case = case.clone();
        change(&mut case.config);
        let layer = case.layer(gpu());
        let options = gqa::CallOptions { path: None, return_attention_scores: scores, ..options };
        block_on(layer.call_with_tape(&inputs.query, &inputs.value, &options)).map(drop)
    };
    let json = serde_json::json!({});
    let other = Regularizer::Other { class_name: "Mine".into(), json: json.clone() };
    refuses(call(&|config| config.kernel_regularizer = Some(other.clone()), false), &["regularizer", "Mine"]);
    let orthogonal = Regularizer::Orthogonal { factor: 0.1, mode: OrthogonalMode::Rows };
    refuses(
        call(&|config| config.activity_regularizer = Some(orthogonal.clone()), false),
        &["`activity`", "matrix"],
    );
    let negative = Regularizer::L2 { l2: -1.0 };
    refuses(call(&|config| config.bias_regularizer = Some(negative.clone()), false), &["l2", "-1"]);
    let l2 = Regularizer::L2 { l2: 0.1 };
    refuses(
        call(&|config| config.activity_regularizer = Some(l2.clone()), true),
        &["return_attention_scores", "activity"],
    );

    // An optimizer that is refused has changed nothing.
    let mut constrained = case.clone();
    constrained.config.kernel_constraint = Some(Constraint::Other { class_name: "Mine".into(), json });
    let mut layer = constrained.layer(gpu());
    let before = block_on(layer.read_weights()).unwrap();
    let gradients = {
        let (_, tape) = block_on(layer.call_with_tape(&inputs.query, &inputs.value, &options)).unwrap();
        block_on(tape.backward(&tensor(&[2, 3, 6]))).unwrap()
    };
    refuses(block_on(layer.step(&mut Optimizer::sgd(), &gradients)), &["constraint", "Mine"]);
    assert_eq!(block_on(layer.read_weights()).unwrap(), before);
    let copy = block_on(layer.copy_weights()).unwrap();
    let mut narrower = Case::new(config(4, 4, 2), 5, [2, 3, 5]).layer(gpu());
    refuses(block_on(narrower.set_weights(&copy)), &["`weights`", "6"]);
    block_on(layer.set_weights(&copy)).unwrap();
    assert_eq!(block_on(layer.read_weights()).unwrap(), before);
}
