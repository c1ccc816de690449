// x = 0 where it is NaN or infinite, in place                                                             x [count]
// What is hidden may be anything, and a factor of 0 does not make it nothing. What a query sees of this kind has made its
// lse NaN, which stays. A lane takes PER_LANE elements, a workgroup apart.

#import shared/grid

// Workgroups cost more than elements do.
const PER_LANE: u32 = 16u;

@group(0) @binding(1) var<storage, read_write> x: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_workgroup(workgroup, workgroups);
    if (tile > params.count / (WORKGROUP_SIZE * PER_LANE)) {
        return;
    }
    for (var i = 0u; i < PER_LANE; i++) {
        let at = (tile * PER_LANE + i) * WORKGROUP_SIZE + lane;
        if (at < params.count && (x[at] & 0x7f800000u) == 0x7f800000u) {
            x[at] = 0u;
        }
    }
}
