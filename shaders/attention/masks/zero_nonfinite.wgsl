// x = 0 where it is NaN or infinite, in place                                                             x [count]
// Masked positions may hold NaN or Inf, and 0 · NaN is NaN, so they are zeroed first. A *visible* non-finite value has
// already made that query's lse NaN, which still propagates. A lane handles PER_LANE elements, WORKGROUP_SIZE apart.

#import shared/grid

// Several elements per lane amortize the cost of a workgroup.
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
