// y = x, from one element type to another.

struct Params {
    // Elements, and words of y.
    count: u32,
    words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

fn load(index: u32) -> f32 {
    if (index >= params.count) {
        return 0.0;
    }
    return decode(x[word_of(index, X_TYPE)], index, X_TYPE);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_workgroup(workgroup, workgroups);
    let word = tile * WORKGROUP_SIZE + lane;
    if (tile > params.words / WORKGROUP_SIZE || word >= params.words) {
        return;
    }
    if (Y_TYPE == F32) {
        y[word] = bitcast<u32>(load(word));
    } else if (Y_TYPE == F16) {
        y[word] = f16_bits(load(2u * word)) | (f16_bits(load(2u * word + 1u)) << 16u);
    } else {
        y[word] = bf16_bits(load(2u * word)) | (bf16_bits(load(2u * word + 1u)) << 16u);
    }
}
