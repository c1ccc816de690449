//! The kernels of training terms on a GPU against their reference functions, over awkward sizes and poisoned outputs.

use super::support::*;
use crate::kernels::elementwise::sums::{Map, Sums, column_sums, sums};
use crate::kernels::elementwise::transpose::transpose;
use crate::kernels::training::adam::{Adam, adam};
use crate::kernels::training::constrain::{Rule, constrain};
use crate::kernels::training::l1_l2_backward::l1_l2_backward;
use crate::kernels::training::normalize::{Vectors, normalize};
use crate::kernels::training::normalize_backward::normalize_backward;
use crate::kernels::training::off_diagonal_sign::off_diagonal_sign;
use crate::kernels::training::sgd::{Sgd, sgd};
use crate::kernels::training::squared_error_backward::squared_error_backward;
use crate::reference::{self, AdamStep, SgdStep};
use crate::{Array, Constraint, DType};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

const COUNTS: [usize; 7] = [1, 2, 63, 64, 65, 1000, 4099];

fn rounded(x: f64) -> f64 {
    f64::from(x as f32)
}

#[test]
fn sums_are_the_references() {
    let gpu = gpu();
    let shapes = [[1, 1, 1], [1, 64, 1], [1, 65, 1], [1, 4097, 1], [1, 300_001, 1], [1, 129, 7], [5, 70, 3]];
    for (case, shape) in shapes.into_iter().chain([[131, 9, 1], [1, 3, 1000], [2, 5000, 9]]).enumerate() {
        let [outer, length, inner] = shape;
        let count = shape.iter().product();
        let (x, x_ref) = tensor(&gpu, &[count], values(count, 1), DType::F32);
        let (other, other_ref) = tensor(&gpu, &[count], values(count, 2), DType::F32);
        let o = other_ref.data();
        let size = 3 + case;
        type Mapped<'a> = Box<dyn Fn(usize, f64) -> f64 + 'a>;
        let maps: [(Map, Mapped<'_>); 6] = [
            (Map::Value, Box::new(|_, x| x)),
            (Map::Magnitude, Box::new(|_, x| x.abs())),
            (Map::Square, Box::new(|_, x| x * x)),
            (Map::SquaredDifference, Box::new(move |i, x| (x - o[i]).powi(2))),
            (Map::Product, Box::new(move |i, x| x * o[i])),
            (
                Map::MagnitudeOffDiagonal(size),
                Box::new(move |i, x| if i % (size + 1) == 0 { 0.0 } else { x.abs() }),
            ),
        ];
        for (map, mapped) in &maps {
            for accumulate in [false, true] {
                let y = poisoned(&gpu, &[outer * inner], DType::F32);
                let (start, start_ref) = tensor(&gpu, &[outer * inner], values(outer * inner, 3), DType::F32);
                let y = if accumulate { &start } else { &y };
                let (factor, other) = (0.75, Some(other.range()));
                let operands =
                    Sums { x: x.range(), other, shape, map: *map, factor, accumulate, y: y.range() };
                run(&gpu, |pass| sums(pass, &operands));
                let mut expected: Vec<f64> =
                    reference::sums(x_ref.data(), shape, mapped).iter().map(|sum| 0.75 * sum).collect();
                if accumulate {
                    expected.iter_mut().zip(start_ref.data()).for_each(|(sum, start)| *sum += start);
                }
                // Where signs cancel, errors are those of the magnitudes.
                let scale = if length > 1000 { 1e-4 } else { 2e-6 };
                let tolerance = if matches!(map, Map::Value | Map::Product) { scale } else { 1e-6 };
                check(&format!("{map:?} of {shape:?}, {accumulate}"), y, &expected, tolerance);
            }
        }
    }
}

#[test]
fn sums_of_ten_million_are_exact_to_a_millionth_and_the_same_every_time() {
    let gpu = gpu();
    let count = 10_000_000;
    // 1 + small: adding them one by one in f32 would be off by percents.
    let data: Vec<f32> = values(1000, 5).into_iter().map(|x| 1.0 + 0.1 * x).cycle().take(count).collect();
    let (x, x_ref) = tensor(&gpu, &[count], data, DType::F32);
    let y = poisoned(&gpu, &[2], DType::F32);
    let mut all = Vec::new();
    for _ in 0..2 {
        let (map, shape, factor) = (Map::Value, [1, count / 2, 2], 1.0);
        let operands =
            Sums { x: x.range(), other: None, shape, map, factor, accumulate: false, y: y.range() };
        run(&gpu, |pass| sums(pass, &operands));
        all.push(read(&y));
        poison(&y);
    }
    assert_eq!(all[0], all[1]);
    let expected = reference::sums(x_ref.data(), [1, count / 2, 2], |_, x| x);
    compare("10⁷", &all[0], &expected, 1e-6).unwrap();
}

#[test]
fn column_sums_are_the_references_in_windows_too() {
    let gpu = gpu();
    for window in [0, 8192] {
        gpu.set_window_bytes(window);
        for [m, n] in [[1, 1], [1, 300], [65, 1], [1000, 7], [5000, 13], [70, 130]] {
            let (dy, dy_ref) = tensor(&gpu, &[m, n], values(m * n, 1), DType::F32);
            let y = poisoned(&gpu, &[n], DType::F32);
            run(&gpu, |pass| column_sums(pass, dy.range(), [m, n], y.range()));
            let expected = reference::sums(dy_ref.data(), [1, m, n], |_, x| x);
            check(&format!("columns of {m}×{n}, {window}"), &y, &expected, 1e-5);
        }
    }
}

#[test]
fn a_row_that_fits_no_binding_is_refused() {
    let gpu = gpu();
    gpu.set_window_bytes(1024);
    let (dy, _) = tensor(&gpu, &[9, 300], values(2700, 1), DType::F32);
    let y = poisoned(&gpu, &[300], DType::F32);
    let refused =
        pollster::block_on(gpu.submit("test", |pass| column_sums(pass, dy.range(), [9, 300], y.range())));
    assert!(refused.unwrap_err().to_string().contains("a row"));
}

#[test]
fn transpose_is_the_references() {
    let gpu = gpu();
    for [rows, columns] in [[1, 1], [1, 77], [33, 1], [32, 32], [31, 65], [100, 37], [3, 1000]] {
        for dtype in crate::kernels::FLOATS {
            let (x, x_ref) = tensor(&gpu, &[rows, columns], values(rows * columns, 1), dtype);
            let y = poisoned(&gpu, &[columns, rows], DType::F32);
            run(&gpu, |pass| transpose(pass, x.operand(), [rows, columns], y.range()));
            assert_eq!(read(&y), reference::transpose(x_ref.data(), [rows, columns]), "{rows}×{columns}");
        }
    }
}

#[test]
fn l1_l2_backward_is_the_references() {
    let gpu = gpu();
    for window in [0, 4096] {
        gpu.set_window_bytes(window);
        for count in COUNTS {
            let mut data = values(count, 1);
            data[count / 2] = 0.0;
            let (x, x_ref) = tensor(&gpu, &[count], data, DType::F32);
            let (gradient, start) = tensor(&gpu, &[count], values(count, 2), DType::F32);
            run(&gpu, |pass| l1_l2_backward(pass, [0.5, 0.3], x.range(), gradient.range(), count));
            let mut expected = reference::l1_l2_backward(x_ref.data(), 0.5, f64::from(0.3f32));
            expected.iter_mut().zip(start.data()).for_each(|(sum, start)| *sum += start);
            check(&format!("gradient of {count}, {window}"), &gradient, &expected, 1e-6);
        }
    }
}

#[test]
fn squared_error_backward_is_the_references() {
    let gpu = gpu();
    for window in [0, 4096] {
        gpu.set_window_bytes(window);
        for count in COUNTS {
            let (output, output_ref) = tensor(&gpu, &[count], values(count, 1), DType::F32);
            let (target, target_ref) = tensor(&gpu, &[count], values(count, 2), DType::F32);
            let gradient = poisoned(&gpu, &[count], DType::F32);
            let operands = [output.range(), target.range()];
            let factor = 2.0 / count as f32;
            run(&gpu, |pass| squared_error_backward(pass, factor, operands, gradient.range(), count));
            let (_, expected) = reference::squared_error_backward(output_ref.data(), target_ref.data());
            check(&format!("gradient of {count}, {window}"), &gradient, &expected, 1e-6);
        }
    }
}

#[test]
fn off_diagonal_sign_is_the_references() {
    let gpu = gpu();
    for window in [0, 1024] {
        gpu.set_window_bytes(window);
        for size in [1, 2, 8, 65, 131] {
            let mut data = values(size * size, 1);
            data[size / 2] = 0.0;
            let (p, p_ref) = tensor(&gpu, &[size, size], data, DType::F32);
            run(&gpu, |pass| off_diagonal_sign(pass, 0.25, p.range(), size));
            assert_eq!(read(&p), reference::off_diagonal_sign(p_ref.data(), size, 0.25), "{size}, {window}");
        }
    }
}

/// The vectors of a matrix.
fn split(x: &[f64], vectors: &Vectors) -> Vec<Vec<f64>> {
    let Vectors { count, length, columns } = *vectors;
    let rows = if columns { reference::transpose(x, [length, count]) } else { x.to_vec() };
    rows.chunks(length).map(<[f64]>::to_vec).collect()
}

#[test]
fn normalize_and_its_backward_are_the_references() {
    let gpu = gpu();
    for sizes in [[1, 1], [3, 70], [65, 4], [130, 33]] {
        for columns in [false, true] {
            let vectors = Vectors::of(sizes, columns);
            let (count, total) = (vectors.count, sizes[0] * sizes[1]);
            let mut data = values(total, 1);
            // One vector of zeros, and one shorter than the epsilon.
            for (i, x) in data.iter_mut().enumerate() {
                let vector = if columns { i % sizes[1] } else { i / sizes[1] };
                *x *= if vector == 1 {
                    0.0
                } else if vector == 2 {
                    1e-9
                } else {
                    1.0
                };
            }
            let (x, x_ref) = tensor(&gpu, &sizes, data, DType::F32);
            let rows = split(x_ref.data(), &vectors);
            let of_rows =
                |f: &dyn Fn(&[f64]) -> f64| -> Vec<f32> { rows.iter().map(|x| f(x) as f32).collect() };
            let squares = of_rows(&|x| x.iter().map(|x| x * x).sum());
            let (squares, _) = tensor(&gpu, &[count], squares, DType::F32);
            let n = poisoned(&gpu, &[total], DType::F32);
            run(&gpu, |pass| normalize(pass, &vectors, x.range(), squares.range(), n.range()));
            let expected = reference::normalize(&rows).concat();
            check(&format!("{sizes:?} normalized, {columns}"), &n, &expected, 1e-6);

            let (dn, dn_ref) = tensor(&gpu, &[total], values(total, 2), DType::F32);
            let length = vectors.length;
            let dots = expected.chunks(length).zip(dn_ref.data().chunks(length));
            let dots =
                dots.map(|(n, dn)| n.iter().zip(dn).map(|(n, dn)| n * dn).sum::<f64>() as f32).collect();
            let (dots, _) = tensor(&gpu, &[count], dots, DType::F32);
            let (dx, start) = tensor(&gpu, &sizes, values(total, 3), DType::F32);
            let (operands, sums) = ([n.range(), dn.range()], [squares.range(), dots.range()]);
            run(&gpu, |pass| normalize_backward(pass, &vectors, operands, sums, dx.range()));
            let backward = |(x, dn): (&Vec<f64>, &[f64])| reference::normalize_backward(x, dn);
            let added: Vec<_> = rows.iter().zip(dn_ref.data().chunks(length)).flat_map(backward).collect();
            let added = if columns { reference::transpose(&added, [count, length]) } else { added };
            let expected: Vec<_> =
                added.iter().zip(start.data()).map(|(added, start)| added + start).collect();
            // Short vectors have huge gradients, so each vector is looked at alone.
            for (v, (got, expected)) in
                split(&read(&dx), &vectors).iter().zip(split(&expected, &vectors)).enumerate()
            {
                compare(&format!("dx {v} of {sizes:?}, {columns}"), got, &expected, 2e-6).unwrap();
            }
        }
    }
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

#[test]
fn cast_in_windows_is_the_references() {
    let gpu = gpu();
    gpu.set_window_bytes(1024);
    for (from, to) in [(DType::F32, DType::F16), (DType::Bf16, DType::F32), (DType::F16, DType::Bf16)] {
        let (x, x_ref) = tensor(&gpu, &[1501], values(1501, 1), from);
        let y = poisoned(&gpu, &[1501], to);
        run(&gpu, |pass| crate::kernels::elementwise::cast::cast(pass, x.operand(), y.operand(), 1501));
        assert_eq!(read(&y), reference::cast(&x_ref, to).data(), "{from} to {to}");
    }
}
