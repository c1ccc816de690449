// x = 0 where it is NaN or infinite, in place                                                             x [count]
// What is hidden may be anything, and a factor of 0 does not make it nothing. What a query sees of this kind has made its
// lse NaN, which stays.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (i < params.count && (x[i] & 0x7f800000u) == 0x7f800000u) {
        x[i] = 0u;
    }
}
