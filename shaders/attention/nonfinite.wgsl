// Products in which a probability of 0 excludes a non-finite value: 0 · NaN would be NaN.

/// Whether all four are finite, tested by bits: drivers disagree on comparisons with NaN.
fn finite(x: vec4<f32>) -> bool {
    return all((bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u));
}

/// p · x, but exactly 0 where p is 0, even if x is non-finite. Tests the bits of p, so that fast-math can't remove the test.
fn product_or_zero(p: f32, x: vec4<f32>) -> vec4<f32> {
    return select(p * x, vec4<f32>(), vec4<bool>((bitcast<u32>(p) << 1u) == 0u));
}
