// loss = Σ (output[i] − target[i])² / count                                              (the forward line)
// d_output[i] = factor · (output[i] − target[i]),  factor = 2 / count         output, target, d_output [count]

#import shared/grid

@group(0) @binding(1) var<storage, read> output: array<f32>;
@group(0) @binding(2) var<storage, read> goal: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_output: array<f32>;

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
    d_output[i] = params.factor * (output[i] - goal[i]);
}
