// Weighing values so that what is hidden stays hidden, be it NaN or infinite.

/// Whether all four are neither NaN nor infinite, by their bits: drivers disagree on comparisons with NaN.
fn finite(x: vec4<f32>) -> bool {
    return all((bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u));
}

/// p · x, and exactly 0 where p is, whatever x. By the bits of p, so that no fast arithmetic takes the test for redundant.
fn product_or_zero(p: f32, x: vec4<f32>) -> vec4<f32> {
    return select(p * x, vec4<f32>(), vec4<bool>((bitcast<u32>(p) << 1u) == 0u));
}
