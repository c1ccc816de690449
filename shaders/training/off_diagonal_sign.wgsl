// loss = factor · Σ_{r≠c} |p[r,c]|                                                        (the forward line)
// p[r,c] = r ≠ c ? factor · sign(p[r,c]) : 0, in place                                       p [size,size]

#import shared/grid

@group(0) @binding(1) var<storage, read_write> p: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_element(workgroup, workgroups, lane, params.count);
    if (i >= params.count) {
        return;
    }
    p[i] = select(params.factor * sign(p[i]), 0.0, (params.first + i) % params.diagonal == 0u);
}
