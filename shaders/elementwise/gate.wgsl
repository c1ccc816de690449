// gate = sigmoid(gate) in place, gated = gate ∘ out                                             all [count] f32

#import shared/grid
#import shared/numbers

@group(0) @binding(1) var<storage, read_write> gate: array<f32>;
@group(0) @binding(2) var<storage, read> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> gated: array<f32>;

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
    let sigmoid = 1.0 / (1.0 + exp2(-LOG2_E * gate[i]));
    gate[i] = sigmoid;
    gated[i] = sigmoid * out[i];
}
