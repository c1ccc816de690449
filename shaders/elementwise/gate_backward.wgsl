// The gradient of a gate, from the gradient of the gated output.
//
//     forward    gate = sigmoid(z)        gated = gate ∘ out
//     backward   d_out = d_gated ∘ gate   d_z = (d_gated ∘ out + l1 + 2 · l2 · gate) ∘ gate ∘ (1 − gate)
//
// l1 and l2 are the factors of a penalty on the gate itself, which is never negative. d_out overwrites d_gated, and d_z
// overwrites gate.                                                                              all [count] f32

#import shared/grid

@group(0) @binding(1) var<storage, read_write> gate: array<f32>;
@group(0) @binding(2) var<storage, read> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_gated: array<f32>;

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
    let sigmoid = gate[i];
    let gradient = d_gated[i];
    d_gated[i] = gradient * sigmoid;
    let d_gate = gradient * out[i] + params.l1 + 2.0 * params.l2 * sigmoid;
    gate[i] = d_gate * sigmoid * (1.0 - sigmoid);
}
