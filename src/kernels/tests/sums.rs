//! Sums, transposes and casts, in windows too, against the reference.

use super::support::*;
use crate::DType;
use crate::kernels::elementwise::sums::{Map, Sums, column_sums, sums};
use crate::kernels::elementwise::transpose::transpose;
use crate::reference;
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

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
