// y[i] = Σ a        over the ACCUMULATORS · 4 numbers a of invocation i, after each went
// a = a · scale + offset        4 · iterations times
//
// Multiply-adds in registers and nothing else: measures an adapter's peak rate. The numbers of an invocation are independent,
// so their latencies overlap. The sum keeps the compiler from removing any of them.

#import shared/grid

@group(0) @binding(1) var<storage, read_write> y: array<f32>;

// The initial value of accumulator j of an invocation, in [0, 2).
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

#for j in ACCUMULATORS: var a$j = start(i, ${j}u);
    for (var step = 0u; step < end; step++) {
#for u in 4, j in ACCUMULATORS: a$j = a$j * scale + offset;
    }
    var sums = vec4<f32>();
#for j in ACCUMULATORS: sums += a$j;
    if (i < params.length) {
        y[i] = sums.x + sums.y + sums.z + sums.w;
    }
}
