// loss += l1 · Σ |x[i]| + l2 · Σ x[i]²                                                   (the forward line)
// gradient[i] += l1 · sign(x[i]) + 2 · l2 · x[i]                                       x, gradient [count]

#import shared/grid

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;

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
    gradient[i] += params.l1 * sign(x[i]) + 2.0 * params.l2 * x[i];
}
