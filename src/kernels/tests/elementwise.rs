//! Casts, gates and the multiply-add peak against the reference.

use super::support::*;
use crate::reference;
use crate::{DType, Tensor};
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
