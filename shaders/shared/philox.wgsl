// Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011).

/// The high half of a 32 × 32 bit product, from 16-bit halves.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let middle = a_high * b_low + ((a_low * b_low) >> 16u);
    let carry = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (carry >> 16u);
}

fn philox_round(x: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    return vec4<u32>(
        multiply_high(0xcd9e8d57u, x.z) ^ x.y ^ key.x,
        0xcd9e8d57u * x.z,
        multiply_high(0xd2511f53u, x.x) ^ x.w ^ key.y,
        0xd2511f53u * x.x,
    );
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var x = counter;
    var k = key;
    for (var i = 0u; i < 10u; i++) {
        x = philox_round(x, k);
        k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return x;
}
