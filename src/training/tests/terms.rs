//! Regularizers, constraints and the loss.

use pollster::block_on;

use super::super::mean_squared_error;
use super::super::regularizer::{Penalized, record_gradient, record_loss};
use crate::kernels::tests::support::*;
use crate::{Array, Constraint, DType, OrthogonalMode, Regularizer, Tensor, reference};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

pub(super) fn regularizers() -> Vec<Regularizer> {
    let orthogonal = |factor, mode| Regularizer::Orthogonal { factor, mode };
    vec![
        Regularizer::L1 { l1: 0.5 },
        Regularizer::L2 { l2: 0.25 },
        Regularizer::L1L2 { l1: 0.125, l2: 0.5 },
        orthogonal(0.75, OrthogonalMode::Rows),
        orthogonal(3.0, OrthogonalMode::Columns),
    ]
}

/// Loss and gradient of the GPU, added to 0.5 and to ones, times a factor of 2.
fn got(regularizer: &Regularizer, name: &str, x: &Tensor) -> [Vec<f64>; 2] {
    let gpu = x.gpu();
    let (loss, _) = tensor(gpu, &[1], vec![0.5], DType::F32);
    let ones = vec![1.0; x.shape().iter().product()];
    let (gradient, _) = tensor(gpu, x.shape(), ones, DType::F32);
    run(gpu, |pass| {
        let penalized = Penalized::weight(name, x.range(), x.shape());
        record_loss(pass, regularizer, &penalized, 2.0, loss.range())?;
        record_gradient(pass, regularizer, &penalized, 2.0, gradient.range())
    });
    [read(&loss), read(&gradient)]
}

#[test]
fn regularizers_are_the_references_and_their_gradients_are_its_differences() {
    let gpu = gpu();
    for (name, shape, matrix) in [
        ("query/kernel", vec![5, 3, 4], [5, 12]),
        ("attention_output/kernel", vec![5, 3, 4], [15, 4]),
        ("query/bias", vec![7, 9], [7, 9]),
        ("a", vec![1, 6], [1, 6]),
        ("a", vec![6, 1], [6, 1]),
        ("a", vec![40, 33], [40, 33]),
    ] {
        let count = shape.iter().product();
        // Away from 0, where |x| has no derivative.
        let data = values(count, 7).into_iter().map(|x| x + 0.2 * x.signum()).collect();
        let (x, x_ref) = tensor(&gpu, &shape, data, DType::F32);
        for regularizer in regularizers() {
            let what = format!("{regularizer:?} of {name} {shape:?}");
            let [loss, gradient] = got(&regularizer, name, &x);
            let reference = |x: &[f64]| reference::regularizer_loss(&regularizer, x, matrix);
            let expected = 0.5 + 2.0 * reference(x_ref.data());
            compare(&what, &loss, &[expected], 2e-6).unwrap();
            // For so many vectors some product is always near its kink, and each difference costs a whole product.
            if count > 100 {
                continue;
            }
            let step = 1e-6;
            let difference = |i: usize| {
                let mut moved = x_ref.data().to_vec();
                moved[i] += step;
                let above = reference(&moved);
                moved[i] -= 2.0 * step;
                1.0 + 2.0 * (above - reference(&moved)) / (2.0 * step)
            };
            let expected: Vec<_> = (0..count).map(difference).collect();
            compare(&what, &gradient, &expected, 1e-5).unwrap();
        }
    }
}

#[test]
fn wrong_regularizers_are_refused_by_name() {
    let other = Regularizer::Other { class_name: "Own".into(), json: serde_json::Value::Null };
    for (regularizer, words) in [
        (Regularizer::L1 { l1: -0.5 }, ["`l1`", "-0.5"]),
        (Regularizer::L2 { l2: f64::NAN }, ["`l2`", "NaN"]),
        (Regularizer::L1L2 { l1: 0.0, l2: f64::INFINITY }, ["`l2`", "inf"]),
        (Regularizer::Orthogonal { factor: -1.0, mode: OrthogonalMode::Rows }, ["`factor`", "-1"]),
        (other, ["`regularizer`", "Own"]),
    ] {
        let message = regularizer.check().unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    let gpu = gpu();
    let orthogonal = &regularizers()[3];
    for (shape, row_axes) in [(&[24][..], Some(1)), (&[2, 3, 2, 2], Some(1)), (&[2, 3, 4], None)] {
        let (x, _) = tensor(&gpu, shape, values(24, 1), DType::F32);
        let penalized = Penalized { name: "query/kernel", x: x.range(), shape, row_axes };
        let refused = gpu.submit("test", |pass| record_loss(pass, orthogonal, &penalized, 1.0, x.range()));
        let message = block_on(refused).unwrap_err().to_string();
        assert!(message.contains("query/kernel") && message.contains("rank 2"), "{message}");
    }
}

#[test]
fn constraints_are_the_references_over_every_set_of_axes() {
    let gpu = gpu();
    let shapes: [(&[usize], Vec<Vec<i64>>); 4] = [
        (&[7], vec![vec![0], vec![-1], vec![]]),
        (&[1, 1], vec![vec![0], vec![0, 1], vec![]]),
        (
            &[5, 3, 70],
            vec![
                vec![0],
                vec![1],
                vec![2],
                vec![0, 1],
                vec![0, -1],
                vec![1, 2],
                vec![2, 0, 1],
                vec![-3],
                vec![],
            ],
        ),
        (&[3, 4, 2, 5, 6], vec![vec![0, 2, 4], vec![1, 3], vec![-1, -5], vec![1, 2]]),
    ];
    for (shape, axes) in shapes {
        for axis in axes {
            let count = shape.iter().product();
            for constraint in [
                Constraint::MaxNorm { max_value: 0.8, axis: axis.clone() },
                Constraint::MinMaxNorm { min_value: 0.9, max_value: 1.1, rate: 0.5, axis: axis.clone() },
                Constraint::UnitNorm { axis: axis.clone() },
                Constraint::NonNeg,
            ] {
                let (w, w_ref) = tensor(&gpu, shape, values(count, 1), DType::F32);
                run(&gpu, |pass| super::super::constraint::record(pass, &constraint, w.range(), shape));
                let expected = reference::constrain(&w_ref, &constraint);
                check(&format!("{constraint:?} of {shape:?}"), &w, expected.data(), 1e-6);
            }
        }
    }
}

#[test]
fn wrong_constraints_are_refused_by_name() {
    let unit = |axis: &[i64]| Constraint::UnitNorm { axis: axis.to_vec() };
    let min_max =
        |min_value, max_value, rate| Constraint::MinMaxNorm { min_value, max_value, rate, axis: vec![0] };
    let other = Constraint::Other { class_name: "Own".into(), json: serde_json::Value::Null };
    for (constraint, words) in [
        (unit(&[3]), ["`axis`", "3 in [3]"]),
        (unit(&[-4]), ["`axis`", "-4"]),
        (unit(&[i64::MIN]), ["`axis`", "from -3 to 2"]),
        (unit(&[0, -3]), ["`axis`", "-3 in [0, -3]"]),
        (Constraint::MaxNorm { max_value: f64::NAN, axis: vec![0] }, ["`max_value`", "NaN"]),
        (min_max(f64::NAN, 1.0, 1.0), ["`min_value`", "NaN"]),
        (min_max(0.0, 1.0, -0.5), ["`rate`", "-0.5"]),
        (min_max(0.0, 1.0, f64::NAN), ["`rate`", "NaN"]),
        (other, ["`constraint`", "Own"]),
    ] {
        let message = constraint.check(&[2, 3, 4]).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    // What Keras takes is taken.
    min_max(2.0, 1.0, 1.5).check(&[2, 3]).unwrap();
    Constraint::MaxNorm { max_value: f64::INFINITY, axis: vec![] }.check(&[2, 3]).unwrap();
    let alternating: Vec<i64> = (0..5).map(|i| 2 * i).collect();
    assert!(unit(&alternating).check(&[2; 9]).unwrap_err().to_string().contains("alternate"));
}

#[test]
fn mean_squared_error_is_the_references_in_every_type() {
    let gpu = gpu();
    for window in [0, 4096] {
        gpu.set_window_bytes(window);
        for (case, shape) in [vec![1], vec![2, 3, 5], vec![3, 7, 100]].into_iter().enumerate() {
            for (a, b) in [(0, 0), (1, 0), (2, 1)] {
                let types =
                    [(a + case) % 3, (b + case) % 3].map(|i| [DType::F32, DType::F16, DType::Bf16][i]);
                let count = shape.iter().product();
                let (output, output_ref) = tensor(&gpu, &shape, values(count, 1), types[0]);
                let (target, target_ref) = tensor(&gpu, &shape, values(count, 2), types[1]);
                let all: Vec<_> =
                    (0..2).map(|_| block_on(mean_squared_error(&output, &target)).unwrap()).collect();
                let (value, gradient) =
                    reference::squared_error_backward(output_ref.data(), target_ref.data());
                for loss in &all {
                    check(&format!("{shape:?} {types:?}"), &loss.value, &[value], 2e-6);
                    check(&format!("{shape:?} {types:?}"), &loss.gradient, &gradient, 1e-6);
                    assert_eq!(loss.gradient.shape(), shape);
                }
                assert_eq!(read(&all[0].value), read(&all[1].value));
            }
        }
    }
}

#[test]
fn wrong_arguments_of_the_loss_are_refused_by_name() {
    let gpu = gpu();
    let new = |gpu: &crate::Gpu, shape: &[usize]| tensor(gpu, shape, values(6, 1), DType::F32).0;
    let x = new(&gpu, &[2, 3]);
    let mask = block_on(Tensor::from_mask(&gpu, &Array::from_fn([2, 3], |_| true))).unwrap();
    let elsewhere = new(&super::super::super::kernels::tests::support::gpu(), &[2, 3]);
    for (output, target, words) in [
        (&x, &new(&gpu, &[3, 2]), ["`target`", "[3, 2]"]),
        (&x, &mask, ["`target`", "bool"]),
        (&mask, &x, ["`output`", "bool"]),
        (&x, &elsewhere, ["`target`", "another"]),
    ] {
        let message = block_on(mean_squared_error(output, target)).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}
