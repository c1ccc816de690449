//! The bytes of stored floats, of every type and byte order.

use half::{bf16, f16};

use crate::DType;

/// Little- or big-endian elements as f32, which holds each of these types exactly.
pub(super) fn floats(raw: &[u8], dtype: DType, big_endian: bool) -> Vec<f32> {
    fn of<const N: usize>(raw: &[u8], big_endian: bool, element: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (elements, _) = raw.as_chunks::<N>();
        let flip = |mut bytes: [u8; N]| {
            bytes.reverse();
            bytes
        };
        elements.iter().map(|&bytes| element(if big_endian { flip(bytes) } else { bytes })).collect()
    }
    match dtype {
        DType::F32 => of(raw, big_endian, f32::from_le_bytes),
        DType::F16 => of(raw, big_endian, |bytes| f16::from_le_bytes(bytes).to_f32()),
        DType::Bf16 => of(raw, big_endian, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        DType::Bool => raw.iter().map(|&byte| f32::from(u8::from(byte != 0))).collect(),
    }
}

/// The inverse of [`floats`], each element rounded to `dtype`.
pub(super) fn encoded(data: &[f32], dtype: DType, big_endian: bool) -> Vec<u8> {
    fn of<const N: usize>(data: &[f32], big_endian: bool, element: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
        let ordered = |x: &f32| {
            let mut bytes = element(*x);
            if big_endian {
                bytes.reverse();
            }
            bytes
        };
        data.iter().flat_map(ordered).collect()
    }
    match dtype {
        DType::F32 => of(data, big_endian, f32::to_le_bytes),
        DType::F16 => of(data, big_endian, |x| f16::from_f32(x).to_le_bytes()),
        DType::Bf16 => of(data, big_endian, |x| bf16::from_f32(x).to_le_bytes()),
        DType::Bool => data.iter().map(|&x| u8::from(x != 0.0)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_again() {
        let data = [1.0, -0.0, 1.0 / 3.0, 65504.0, f32::INFINITY, 6e-8];
        for dtype in [DType::F32, DType::F16, DType::Bf16] {
            for big_endian in [false, true] {
                let read = floats(&encoded(&data, dtype, big_endian), dtype, big_endian);
                assert_eq!(read, data.map(|x| dtype.round(x)), "{dtype} {big_endian}");
            }
        }
        assert_eq!(encoded(&[1.0], DType::F32, true), [0x3f, 0x80, 0, 0]);
        assert_eq!(encoded(&[1.0], DType::Bf16, false), [0x80, 0x3f]);
    }
}
