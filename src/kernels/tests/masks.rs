//! Masks as bits, and values that are not finite, against the reference.

use super::support::*;
use crate::reference;
use crate::{Array, DType, Tensor};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

#[test]
fn pack_mask_is_the_references() {
    let gpu = gpu();
    for (rows, length) in [(1, 1), (2, 31), (3, 32), (5, 33), (7, 100), (130, 65)] {
        let (first, second) = (bools(&[rows, length], 1), bools(&[rows, length], 2));
        let first_tensor = pollster::block_on(Tensor::from_mask(&gpu, &first)).unwrap();
        let second_tensor = pollster::block_on(Tensor::from_mask(&gpu, &second)).unwrap();
        for join in [false, true] {
            let words = rows * length.div_ceil(32);
            let bits = poisoned(&gpu, &[words + 3], DType::F32);
            run(&gpu, |pass| {
                let second = join.then(|| second_tensor.range());
                crate::kernels::attention::masks::pack_mask::pack_mask(
                    pass,
                    first_tensor.range(),
                    second,
                    bits.range(),
                    [rows, length, 3],
                )
            });
            let joined = Array::from_fn([rows, length], |i| first.data()[i] && (!join || second.data()[i]));
            let got = pollster::block_on(bits.to_vec::<f32>()).unwrap();
            let got: Vec<u32> = got.into_iter().map(f32::to_bits).collect();
            assert_eq!(got[..3], [POISON.to_bits(); 3]);
            assert_eq!(got[3..], reference::pack_mask(joined.data(), length), "{rows}×{length}");
        }
    }
}

#[test]
fn nonfinite_keys_is_the_references() {
    use crate::kernels::attention::masks::nonfinite_keys::{nonfinite_keys, words};
    let gpu = gpu();
    for (case, sizes) in DIMS.into_iter().enumerate() {
        let [b, _, s, _, hkv, d] = sizes;
        let dtype = crate::kernels::FLOATS[case % 3];
        let mut v = values(b * s * hkv * d, 1);
        let nonfinite = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        v.iter_mut().enumerate().filter(|(i, _)| i % 29 == 7).for_each(|(i, x)| *x = nonfinite[i % 3]);
        let (v, v_ref) = tensor(&gpu, &[b, s, hkv, d], v, dtype);
        let dims = dims(sizes);
        let bits = poisoned(&gpu, &[3 + words(&dims)], DType::F32);
        run(&gpu, |pass| nonfinite_keys(pass, &dims, v.operand(), bits.range(), 3));
        let got: Vec<u32> =
            pollster::block_on(bits.to_vec::<f32>()).unwrap().into_iter().map(f32::to_bits).collect();
        let expected = reference::pack_mask(reference::nonfinite_keys(&v_ref).data(), s);
        // Bits past the last key repeat it.
        let last = |word: usize| match s % 32 {
            rest if rest > 0 && word % s.div_ceil(32) == s / 32 => (1u32 << rest) - 1,
            _ => u32::MAX,
        };
        let got: Vec<u32> = got[3..].iter().enumerate().map(|(i, word)| word & last(i)).collect();
        assert_eq!(got, expected, "{sizes:?} {dtype}");
    }
}

#[test]
fn finite_values_stay_and_others_become_0() {
    let gpu = gpu();
    for count in [1, 64, 65, 1000] {
        let mut data = values(count, 1);
        for i in (0..count).step_by(7) {
            data[i] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0][i / 7 % 4];
        }
        let x = tensor(&gpu, &[count], data.clone(), DType::F32).0;
        run(&gpu, |pass| {
            crate::kernels::attention::masks::zero_nonfinite::zero_nonfinite(pass, x.range(), count)
        });
        let data: Vec<f64> = data.iter().map(|&x| f64::from(x)).collect();
        assert_eq!(read(&x), reference::zero_nonfinite(&data));
    }
}
