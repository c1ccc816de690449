// Operands of cooperative matrices: f16.

/// Rounds to f16. Finite values stay finite: those beyond the range of f16 saturate.
fn halves(x: vec4<f32>) -> vec4<f16> {
    let exponent = bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u);
    return vec4<f16>(select(clamp(x, vec4<f32>(-65504.0), vec4<f32>(65504.0)), x, exponent == vec4<u32>(0x7f800000u)));
}
