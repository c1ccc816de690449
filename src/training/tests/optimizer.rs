//! Optimizers, step by step against the reference.

use pollster::block_on;

use super::super::{Optimizer, Parameter};
use crate::kernels::tests::support::*;
use crate::reference::{self, AdamStep, SgdStep};
use crate::{Array, Constraint, DType, Gpu, Tensor, keras};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

const SHAPES: [&[usize]; 2] = [&[7, 3, 5], &[130]];
const NAMES: [&str; 2] = ["query/kernel", "query/bias"];
const STEPS: u32 = 15;

fn gradients(gpu: &Gpu, step: u32) -> [(Tensor, Array<f64>); 2] {
    [0, 1].map(|i| {
        tensor(gpu, SHAPES[i], values(SHAPES[i].iter().product(), 100 + 2 * step + i as u32), DType::F32)
    })
}

fn variables(gpu: &Gpu, dtype: DType) -> [(Tensor, Array<f64>); 2] {
    [0, 1].map(|i| tensor(gpu, SHAPES[i], values(SHAPES[i].iter().product(), i as u32), dtype))
}

fn step(gpu: &Gpu, optimizer: &mut Optimizer, variables: [&Tensor; 2], gradients: [&Tensor; 2]) {
    let parameters = [0, 1].map(|i| Parameter::new(NAMES[i], variables[i], gradients[i]));
    block_on(optimizer.step(gpu, &parameters)).unwrap();
}

/// What each case of the reference needs: by iteration, the variable, its slots and its gradient.
type Naive = Box<dyn Fn(u64, &mut [f64], [&mut [f64]; 2], &[f64])>;

fn naive_sgd(rate: impl Fn(u64) -> f64 + 'static, weight_decay: f64, momentum: f64, nesterov: bool) -> Naive {
    Box::new(move |iteration, variable, [velocity, _], gradient| {
        let step = SgdStep { learning_rate: rate(iteration), weight_decay, momentum, nesterov };
        reference::sgd(variable, velocity, gradient, &step);
    })
}

fn naive_adam(learning_rate: f64, weight_decay: f64, betas: [f64; 2], epsilon: f64) -> Naive {
    Box::new(move |iteration, variable, slots, gradient| {
        let step = AdamStep { learning_rate, weight_decay, betas, epsilon, t: iteration + 1 };
        reference::adam(variable, slots, gradient, &step);
    })
}

/// How to make an optimizer, what it clips to, its reference.
type Case = (fn() -> Optimizer, Option<f64>, Naive);

fn cases() -> Vec<Case> {
    let betas = [0.9, 0.999];
    vec![
        (Optimizer::sgd, None, naive_sgd(|_| 0.01, 0.0, 0.0, false)),
        (
            || Optimizer::sgd().with_schedule(|i| 0.1 / (1 + i) as f64).with_weight_decay(Some(0.5)),
            None,
            naive_sgd(|i| 0.1 / (1 + i) as f64, 0.5, 0.0, false),
        ),
        (
            || Optimizer::sgd().with_learning_rate(0.05).with_momentum(0.9),
            None,
            naive_sgd(|_| 0.05, 0.0, 0.9, false),
        ),
        (
            || Optimizer::sgd().with_momentum(0.9).with_nesterov(true).with_global_clipnorm(Some(2.0)),
            Some(2.0),
            naive_sgd(|_| 0.01, 0.0, 0.9, true),
        ),
        (Optimizer::adam, None, naive_adam(0.001, 0.0, betas, 1e-7)),
        (Optimizer::adamw, None, naive_adam(0.001, 0.004, betas, 1e-7)),
        (
            || {
                let adam = Optimizer::adamw().with_learning_rate(0.02).with_betas(0.8, 0.95);
                adam.with_epsilon(0.01).with_global_clipnorm(Some(1.0))
            },
            Some(1.0),
            naive_adam(0.02, 0.004, [0.8, 0.95], 0.01),
        ),
    ]
}

#[test]
fn fifteen_steps_are_the_references_and_the_same_every_time() {
    let gpu = gpu();
    for (case, (make, clip, naive)) in cases().into_iter().enumerate() {
        let mut all = Vec::new();
        for _ in 0..2 {
            let mut optimizer = make();
            let [(a, a_ref), (b, b_ref)] = variables(&gpu, DType::F32);
            let mut expected = [a_ref, b_ref].map(Array::into_data);
            let mut slots = [0, 1].map(|i| [0, 1].map(|_| vec![0.0; expected[i].len()]));
            for i in 0..STEPS {
                let [(da, da_ref), (db, db_ref)] = gradients(&gpu, i);
                step(&gpu, &mut optimizer, [&a, &b], [&da, &db]);
                let gradients = [da_ref.data(), db_ref.data()];
                let scale = clip.map_or(1.0, |clip| reference::clip_scale(gradients, clip));
                for (which, gradient) in gradients.into_iter().enumerate() {
                    let gradient: Vec<_> = gradient.iter().map(|g| g * scale).collect();
                    let [m, v] = &mut slots[which];
                    naive(u64::from(i), &mut expected[which], [m, v], &gradient);
                }
            }
            assert_eq!(optimizer.iterations(), u64::from(STEPS));
            check(&format!("{case}: kernel"), &a, &expected[0], 1e-6);
            check(&format!("{case}: bias"), &b, &expected[1], 1e-6);
            all.push([read(&a), read(&b)]);
        }
        assert_eq!(all[0], all[1], "{case}");
    }
}

#[test]
fn half_variables_are_rounded_and_copies_are_written() {
    let gpu = gpu();
    let constraint = Constraint::MaxNorm { max_value: 0.5, axis: vec![0] };
    for (variable_type, copy_type) in [
        (DType::F16, None),
        (DType::Bf16, None),
        (DType::F32, Some(DType::F16)),
        (DType::F32, Some(DType::Bf16)),
    ] {
        let [(w, w_ref), _] = variables(&gpu, variable_type);
        let [(dw, dw_ref), _] = gradients(&gpu, 0);
        let copy = copy_type.map(|dtype| poisoned(&gpu, SHAPES[0], dtype));
        let mut optimizer = Optimizer::sgd().with_learning_rate(0.5);
        let parameter = Parameter {
            compute_copy: copy.as_ref(),
            constraint: Some(&constraint),
            ..Parameter::new("w", &w, &dw)
        };
        block_on(optimizer.step(&gpu, &[parameter])).unwrap();
        let moved = Array::from_fn(SHAPES[0], |i| w_ref.data()[i] - 0.5 * dw_ref.data()[i]);
        let expected = reference::constrain(&moved, &constraint);
        // One unit in the last place, where f32 and f64 round to different sides.
        let tolerance = |dtype| {
            [1e-6, 1e-3, 8e-3]
                [[DType::F32, DType::F16, DType::Bf16].iter().position(|&d| d == dtype).unwrap()]
        };
        check(&format!("{variable_type}"), &w, expected.data(), tolerance(variable_type));
        if let (Some(copy), Some(dtype)) = (copy, copy_type) {
            let variable = Array::new(SHAPES[0], read(&w)).unwrap();
            assert_eq!(
                read(&copy),
                reference::cast(&variable, dtype).data(),
                "the copy is the variable, cast"
            );
        }
    }
}

#[test]
fn a_step_that_repeats_makes_nothing_new() {
    let gpu = gpu();
    let constraint = Constraint::UnitNorm { axis: vec![0, 2] };
    for make in [Optimizer::adamw, || Optimizer::sgd().with_momentum(0.5)] {
        let mut optimizer = make().with_global_clipnorm(Some(1.0)).with_schedule(|i| 1.0 / (2 + i) as f64);
        let ([(w, _), _], [_, (b, _)]) = (variables(&gpu, DType::F16), variables(&gpu, DType::F32));
        let [(dw, _), (db, _)] = gradients(&gpu, 0);
        let copy = poisoned(&gpu, SHAPES[1], DType::Bf16);
        let mut step = || {
            let parameters = [
                Parameter { constraint: Some(&constraint), ..Parameter::new("w", &w, &dw) },
                Parameter { compute_copy: Some(&copy), ..Parameter::new("b", &b, &db) },
            ];
            block_on(optimizer.step(&gpu, &parameters)).unwrap();
        };
        step();
        step();
        let warm = gpu.usage();
        (0..10).for_each(|_| step());
        let after = gpu.usage();
        assert_eq!(
            (after.buffers, after.bind_groups, after.pipelines, after.tensor_bytes, after.workspace_bytes),
            (warm.buffers, warm.bind_groups, warm.pipelines, warm.tensor_bytes, warm.workspace_bytes)
        );
    }
}

#[test]
fn a_step_after_loading_a_checkpoint_is_the_step_that_would_have_been() {
    let gpu = gpu();
    for make in [Optimizer::adam, || Optimizer::sgd().with_momentum(0.9), Optimizer::sgd] {
        let [(a, _), (b, _)] = variables(&gpu, DType::F32);
        let mut optimizer = make();
        for i in 0..3 {
            let [(da, _), (db, _)] = gradients(&gpu, i);
            step(&gpu, &mut optimizer, [&a, &b], [&da, &db]);
        }
        let state = block_on(optimizer.state()).unwrap();
        let arrays: Vec<_> = state.into_iter().map(|t| (t.name.clone(), t.into_float().unwrap())).collect();
        let file =
            keras::write_tensors(arrays.iter().map(|(name, x)| (name.as_str(), x)), DType::F32).unwrap();
        let copies = [&a, &b].map(|x| tensor(&gpu, x.shape(), block_on(x.to_vec()).unwrap(), DType::F32).0);
        let mut loaded = make();
        block_on(loaded.load_state(&gpu, &keras::read_tensors(&file).unwrap())).unwrap();
        assert_eq!(loaded.iterations(), 3);
        let [(da, _), (db, _)] = gradients(&gpu, 3);
        step(&gpu, &mut optimizer, [&a, &b], [&da, &db]);
        step(&gpu, &mut loaded, [&copies[0], &copies[1]], [&da, &db]);
        assert_eq!([read(&a), read(&b)], [read(&copies[0]), read(&copies[1])]);
    }
}

#[test]
fn wrong_state_is_refused_and_leaves_the_optimizer_as_it_was() {
    let gpu = gpu();
    let new = |name: &str, data: &[f32]| keras::NamedTensor {
        name: name.into(),
        dtype: DType::F32,
        data: keras::TensorData::Float(Array::new([data.len()], data).unwrap()),
    };
    let mut optimizer = Optimizer::adam();
    let iterations = new("iterations", &[5.0, 1.0]);
    for (state, word) in [
        (vec![], "iterations"),
        (vec![new("iterations", &[0.5, 0.0])], "whole numbers"),
        (vec![new("iterations", &[f32::NAN, 0.0])], "whole numbers"),
        (vec![iterations.clone(), new("w/momentum", &[1.0])], "w/velocity"),
        (vec![iterations.clone(), new("w/speed", &[1.0])], "w/speed"),
    ] {
        let message = block_on(optimizer.load_state(&gpu, &state)).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
        assert_eq!(optimizer.iterations(), 0);
    }
    let slots = [new("w/momentum", &[1.0]), new("w/velocity", &[1.0])];
    block_on(optimizer.load_state(&gpu, &[&[iterations][..], &slots].concat())).unwrap();
    assert_eq!(optimizer.iterations(), 5 + (1 << 24));
    let (w, dw) = (poisoned(&gpu, &[2], DType::F32), poisoned(&gpu, &[2], DType::F32));
    let message = block_on(optimizer.step(&gpu, &[Parameter::new("w", &w, &dw)])).unwrap_err().to_string();
    assert!(message.contains("momentum of w"), "{message}");
}

#[test]
fn wrong_arguments_are_refused_by_name_and_nothing_changes() {
    let gpu = gpu();
    let new = |shape: &[usize], dtype| tensor(&gpu, shape, vec![1.0; shape.iter().product()], dtype).0;
    let (w, dw) = (new(&[2, 3], DType::F32), new(&[2, 3], DType::F32));
    let refused = |mut optimizer: Optimizer, parameters: &[Parameter<'_>], words: [&str; 2]| {
        let message = block_on(optimizer.step(&gpu, parameters)).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert_eq!(optimizer.iterations(), 0);
    };
    let good = [Parameter::new("w", &w, &dw)];
    let (sgd, adam) = (Optimizer::sgd, Optimizer::adam);
    refused(sgd().with_learning_rate(-0.1), &good, ["`learning_rate`", "-0.1"]);
    refused(sgd().with_learning_rate(f64::INFINITY), &good, ["`learning_rate`", "inf"]);
    refused(sgd().with_schedule(|_| f64::NAN), &good, ["learning_rate of iteration 0", "NaN"]);
    refused(sgd().with_momentum(1.5), &good, ["`momentum`", "1.5"]);
    refused(sgd().with_weight_decay(Some(-1.0)), &good, ["`weight_decay`", "-1"]);
    refused(sgd().with_global_clipnorm(Some(f64::NAN)), &good, ["`global_clipnorm`", "NaN"]);
    refused(sgd().with_betas(0.1, 0.2), &good, ["`betas`", "SGD"]);
    refused(sgd().with_epsilon(0.1), &good, ["`epsilon`", "SGD"]);
    refused(adam().with_momentum(0.1), &good, ["`momentum`", "Adam"]);
    refused(adam().with_nesterov(true), &good, ["`nesterov`", "Adam"]);
    refused(adam().with_betas(1.0, 0.9), &good, ["`beta_1`", "1"]);
    refused(adam().with_betas(0.9, f64::NAN), &good, ["`beta_2`", "NaN"]);
    refused(adam().with_epsilon(-1e-9), &good, ["`epsilon`", "-0.000000001"]);

    let twice = [Parameter::new("w", &w, &dw), Parameter::new("w", &w, &dw)];
    refused(sgd(), &twice, ["`name`", "`w` twice"]);
    let (flat, half) = (new(&[6], DType::F32), new(&[2, 3], DType::F16));
    refused(sgd(), &[Parameter::new("w", &w, &flat)], ["gradient of w", "[6]"]);
    refused(sgd(), &[Parameter::new("w", &w, &half)], ["gradient of w", "f16"]);
    refused(sgd(), &[Parameter::new("w", &w, &w)], ["gradient of w", "buffer of its own"]);
    let mask = block_on(Tensor::from_mask(&gpu, &Array::from_fn([2, 3], |_| true))).unwrap();
    refused(sgd(), &[Parameter::new("w", &mask, &dw)], ["variable of w", "bool"]);
    let copied = |copy| [Parameter { compute_copy: Some(copy), ..Parameter::new("w", &w, &dw) }];
    refused(sgd(), &copied(&flat), ["compute_copy of w", "[6]"]);
    refused(sgd(), &copied(&w), ["compute_copy of w", "buffer of its own"]);
    let elsewhere = super::super::super::kernels::tests::support::gpu();
    let (there, _) = tensor(&elsewhere, &[2, 3], vec![1.0; 6], DType::F32);
    refused(sgd(), &[Parameter::new("w", &w, &there)], ["gradient of w", "another"]);
    refused(sgd(), &[Parameter::new("w", &there, &dw)], ["variable of w", "another"]);
    let constraint = Constraint::UnitNorm { axis: vec![2] };
    let constrained = [Parameter { constraint: Some(&constraint), ..Parameter::new("w", &w, &dw) }];
    refused(sgd(), &constrained, ["axis of w", "2 in [2]"]);
    assert_eq!(read(&w), [1.0; 6]);

    let mut idle = adam();
    block_on(idle.step(&gpu, &[])).unwrap();
    assert_eq!(idle.iterations(), 0, "no parameters are no step, as in Keras");
}
