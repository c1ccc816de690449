//! The kernels of regularizers and losses against the reference.

use super::support::*;
use crate::DType;
use crate::kernels::training::l1_l2_backward::l1_l2_backward;
use crate::kernels::training::normalize::{Vectors, normalize};
use crate::kernels::training::normalize_backward::normalize_backward;
use crate::kernels::training::off_diagonal_sign::off_diagonal_sign;
use crate::kernels::training::squared_error_backward::squared_error_backward;
use crate::reference;
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

const COUNTS: [usize; 7] = [1, 2, 63, 64, 65, 1000, 4099];

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
