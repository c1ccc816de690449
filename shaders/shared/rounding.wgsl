// f32 to half types: nearest, ties to even, the same on every driver (pack2x16float may round either way).

const INF_BITS: u32 = 0x7f800000u;

fn bf16_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    if ((bits & 0x7fffffffu) > INF_BITS) {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

fn f16_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if (magnitude > INF_BITS) {
        return sign | 0x7e00u;
    }
    if (magnitude >= 0x477ff000u) { // 65,520, half way from the largest f16 to the next
        return sign | 0x7c00u;
    }
    if (magnitude >= 0x38800000u) { // 2^-14, the smallest normal f16
        let rebiased = magnitude - 0x38000000u;
        return sign | ((rebiased + 0xfffu + ((rebiased >> 13u) & 1u)) >> 13u);
    }
    return sign | u32(round(bitcast<f32>(magnitude) * 16777216.0)); // in steps of 2^-24
}
