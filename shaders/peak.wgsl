// y[i] = Σ a        over the ACCUMULATORS · 4 numbers a of invocation i, after each went
// a = a · scale + offset        4 · iterations times
//
// Nothing but multiply-adds in registers, for the most of them that an adapter can do in a second. The numbers of an
// invocation do not depend on each other, so that one need not wait for another; the sum makes each of them needed.

struct Params {
    iterations: u32,
    // Of y.
    length: u32,
    scale: f32,
    offset: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

// Where accumulator j of an invocation begins: in [0, 2).
fn start(invocation: u32, j: u32) -> vec4<f32> {
    return vec4<f32>(0.0, 0.25, 0.5, 0.75) + f32((invocation + 8u * j) % 64u) * 0.015625;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let scale = vec4<f32>(params.scale);
    let offset = vec4<f32>(params.offset);
    let end = params.iterations;

    var a0 = start(i, 0u);
    var a1 = start(i, 1u);
    var a2 = start(i, 2u);
    var a3 = start(i, 3u);
    var a4 = start(i, 4u);
    var a5 = start(i, 5u);
    var a6 = start(i, 6u);
    var a7 = start(i, 7u);
    for (var step = 0u; step < end; step++) {
        a0 = a0 * scale + offset; a1 = a1 * scale + offset;
        if (ACCUMULATORS > 2u) { a2 = a2 * scale + offset; a3 = a3 * scale + offset; }
        if (ACCUMULATORS > 4u) { a4 = a4 * scale + offset; a5 = a5 * scale + offset; }
        if (ACCUMULATORS > 6u) { a6 = a6 * scale + offset; a7 = a7 * scale + offset; }

        a0 = a0 * scale + offset; a1 = a1 * scale + offset;
        if (ACCUMULATORS > 2u) { a2 = a2 * scale + offset; a3 = a3 * scale + offset; }
        if (ACCUMULATORS > 4u) { a4 = a4 * scale + offset; a5 = a5 * scale + offset; }
        if (ACCUMULATORS > 6u) { a6 = a6 * scale + offset; a7 = a7 * scale + offset; }

        a0 = a0 * scale + offset; a1 = a1 * scale + offset;
        if (ACCUMULATORS > 2u) { a2 = a2 * scale + offset; a3 = a3 * scale + offset; }
        if (ACCUMULATORS > 4u) { a4 = a4 * scale + offset; a5 = a5 * scale + offset; }
        if (ACCUMULATORS > 6u) { a6 = a6 * scale + offset; a7 = a7 * scale + offset; }

        a0 = a0 * scale + offset; a1 = a1 * scale + offset;
        if (ACCUMULATORS > 2u) { a2 = a2 * scale + offset; a3 = a3 * scale + offset; }
        if (ACCUMULATORS > 4u) { a4 = a4 * scale + offset; a5 = a5 * scale + offset; }
        if (ACCUMULATORS > 6u) { a6 = a6 * scale + offset; a7 = a7 * scale + offset; }
    }
    var sums = a0 + a1;
    if (ACCUMULATORS > 2u) { sums += a2 + a3; }
    if (ACCUMULATORS > 4u) { sums += a4 + a5; }
    if (ACCUMULATORS > 6u) { sums += a6 + a7; }
    if (i < params.length) {
        y[i] = sums.x + sums.y + sums.z + sums.w;
    }
}
