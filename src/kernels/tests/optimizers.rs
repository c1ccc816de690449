//! The updates of optimizers and constraints against the reference.

use super::support::*;
use crate::kernels::training::adam::{Adam, adam};
use crate::kernels::training::constrain::{Rule, constrain};
use crate::kernels::training::sgd::{Sgd, sgd};
use crate::reference::{self, AdamStep, SgdStep};
use crate::{Array, Constraint, DType};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

const COUNTS: [usize; 7] = [1, 2, 63, 64, 65, 1000, 4099];

fn rounded(x: f64) -> f64 {
    f64::from(x as f32)
}

#[test]
fn constrain_is_the_references() {
    let gpu = gpu();
    // Norms over the middle of three axes, and over the others.
    for [a, b, c] in [[1, 1, 1], [3, 70, 5], [9, 2, 130]] {
        for middle in [true, false] {
            let axis = if middle { vec![1] } else { vec![0, 2] };
            let cases = [
                (Rule::MaxNorm(1.5), Constraint::MaxNorm { max_value: 1.5, axis: axis.clone() }),
                (
                    Rule::MinMaxNorm { bounds: [0.5, 1.5], rate: 0.25 },
                    Constraint::MinMaxNorm { min_value: 0.5, max_value: 1.5, rate: 0.25, axis: axis.clone() },
                ),
                (Rule::UnitNorm, Constraint::UnitNorm { axis }),
                (Rule::NonNeg, Constraint::NonNeg),
            ];
            for (rule, constraint) in cases {
                let (w, w_ref) = tensor(&gpu, &[a, b, c], values(a * b * c, 1), DType::F32);
                let vectors = if middle { a * c } else { b };
                let mut squares = vec![0.0; vectors];
                for (i, w) in w_ref.data().iter().enumerate() {
                    let (x, y, z) = (i / b / c, i / c % b, i % c);
                    squares[if middle { x * c + z } else { y }] += w * w;
                }
                let squares = squares.into_iter().map(|square| square as f32).collect();
                let (squares, _) = tensor(&gpu, &[vectors], squares, DType::F32);
                let groups = [(a, !middle), (b, middle), (c, !middle)];
                run(&gpu, |pass| constrain(pass, rule, &groups, squares.range(), w.range()));
                let expected = reference::constrain(&w_ref, &constraint);
                check(&format!("{a}×{b}×{c} {constraint:?}"), &w, expected.data(), 1e-6);
            }
        }
    }
}

/// Gradients scaled by clipping their own norm to 0.5; the norm's square as a tensor.
fn clipped(gpu: &crate::Gpu, gradient: &Array<f64>) -> (crate::Tensor, Vec<f64>) {
    let square: f64 = gradient.data().iter().map(|x| x * x).sum();
    let scale = reference::clip_scale([gradient.data()], 0.5);
    (
        tensor(gpu, &[1], vec![square as f32], DType::F32).0,
        gradient.data().iter().map(|x| x * scale).collect(),
    )
}

#[test]
fn sgd_is_the_references() {
    let gpu = gpu();
    for count in COUNTS {
        for flags in 0..8 {
            let (momentum, nesterov) = (if flags & 1 == 1 { 0.9 } else { 0.0 }, flags & 2 == 2);
            let (gradient, gradient_ref) = tensor(&gpu, &[count], values(count, 1), DType::F32);
            let (variable, variable_ref) = tensor(&gpu, &[count], values(count, 2), DType::F32);
            let (velocity, velocity_ref) = tensor(&gpu, &[count], values(count, 3), DType::F32);
            let (norm, clipped) = clipped(&gpu, &gradient_ref);
            let clip = (flags & 4 == 4).then(|| (norm.range(), 0.5));
            let step = Sgd { learning_rate: 0.1, weight_decay: 0.2, momentum, nesterov };
            let ranges = (variable.range(), (momentum > 0.0).then(|| velocity.range()));
            run(&gpu, |pass| sgd(pass, &step, gradient.range(), clip, ranges, count));
            let step = SgdStep {
                learning_rate: rounded(0.1),
                weight_decay: rounded(0.2),
                momentum: f64::from(momentum),
                nesterov,
            };
            let (mut expected, mut expected_velocity) = (variable_ref.into_data(), velocity_ref.into_data());
            let gradient = if clip.is_some() { &clipped[..] } else { gradient_ref.data() };
            reference::sgd(&mut expected, &mut expected_velocity, gradient, &step);
            check(&format!("variable {count} {flags}"), &variable, &expected, 1e-6);
            check(&format!("velocity {count} {flags}"), &velocity, &expected_velocity, 1e-6);
        }
    }
}

#[test]
fn adam_is_the_references() {
    let gpu = gpu();
    for count in COUNTS {
        for is_clipped in [false, true] {
            let (gradient, gradient_ref) = tensor(&gpu, &[count], values(count, 1), DType::F32);
            let (variable, variable_ref) = tensor(&gpu, &[count], values(count, 2), DType::F32);
            let (momentum, momentum_ref) = tensor(&gpu, &[count], values(count, 3), DType::F32);
            let squares = values(count, 4).into_iter().map(|x| x * x).collect();
            let (velocity, velocity_ref) = tensor(&gpu, &[count], squares, DType::F32);
            let (norm, clipped) = clipped(&gpu, &gradient_ref);
            let clip = is_clipped.then(|| (norm.range(), 0.5));
            let (betas, t) = ([0.75, 0.875f64], 3);
            let alpha = 0.1 * (1.0 - betas[1].powi(t)).sqrt() / (1.0 - betas[0].powi(t));
            let step = Adam {
                learning_rate: 0.1,
                weight_decay: 0.2,
                alpha: alpha as f32,
                shares: [0.25, 0.125],
                epsilon: 1e-3,
            };
            let ranges = [variable.range(), momentum.range(), velocity.range()];
            run(&gpu, |pass| adam(pass, &step, gradient.range(), clip, ranges, count));
            let (learning_rate, weight_decay) = (rounded(0.1), rounded(0.2));
            let step = AdamStep { learning_rate, weight_decay, betas, epsilon: rounded(1e-3), t: t as u64 };
            let mut expected = [variable_ref, momentum_ref, velocity_ref].map(Array::into_data);
            let [v, m, s] = &mut expected;
            let gradient = if is_clipped { &clipped[..] } else { gradient_ref.data() };
            reference::adam(v, [m, s], gradient, &step);
            for (name, got, expected) in [
                ("variable", &variable, &expected[0]),
                ("momentum", &momentum, &expected[1]),
                ("velocity", &velocity, &expected[2]),
            ] {
                check(&format!("{name} {count} {is_clipped}"), got, expected, 1e-6);
            }
        }
    }
}

#[test]
fn a_norm_that_is_not_finite_makes_the_variable_nan() {
    let gpu = gpu();
    for norm in [f32::INFINITY, f32::NAN] {
        let (norm, _) = tensor(&gpu, &[1], vec![norm], DType::F32);
        let (gradient, _) = tensor(&gpu, &[3], vec![1.0, 0.0, -2.0], DType::F32);
        let clip = Some((norm.range(), 1.0));
        let new = || tensor(&gpu, &[3], vec![1.0, 2.0, 3.0], DType::F32).0;
        let [plain, variable, momentum, velocity] = [new(), new(), new(), new()];
        let step = Sgd { learning_rate: 0.1, weight_decay: 0.0, momentum: 0.0, nesterov: false };
        run(&gpu, |pass| sgd(pass, &step, gradient.range(), clip, (plain.range(), None), 3));
        let step =
            Adam { learning_rate: 0.1, weight_decay: 0.0, alpha: 0.1, shares: [0.1; 2], epsilon: 1e-7 };
        let ranges = [variable.range(), momentum.range(), velocity.range()];
        run(&gpu, |pass| adam(pass, &step, gradient.range(), clip, ranges, 3));
        assert!(read(&plain).iter().chain(&read(&variable)).all(|x| x.is_nan()));
    }
}
