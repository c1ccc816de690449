// y = x, from one element type to another. A lane writes PER_LANE words of y, WORKGROUP_SIZE apart.

#import shared/grid
#import shared/elements
#import shared/rounding

// Several words per lane amortize the cost of a workgroup.
const PER_LANE: u32 = 16u;

@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

fn load(index: u32) -> f32 {
    if (index >= params.count) {
        return 0.0;
    }
    return decode(x[word_of(index, X_TYPE)], index, X_TYPE);
}

/// Word `word` of y.
fn encode(word: u32) -> u32 {
    if (Y_TYPE == F32) {
        return bitcast<u32>(load(word));
    }
    if (Y_TYPE == F16) {
        return f16_bits(load(2u * word)) | (f16_bits(load(2u * word + 1u)) << 16u);
    }
    return bf16_bits(load(2u * word)) | (bf16_bits(load(2u * word + 1u)) << 16u);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_workgroup(workgroup, workgroups);
    if (tile > params.words / (WORKGROUP_SIZE * PER_LANE)) {
        return;
    }
    for (var i = 0u; i < PER_LANE; i++) {
        let word = (tile * PER_LANE + i) * WORKGROUP_SIZE + lane;
        if (word < params.words) {
            y[word] = encode(word);
        }
    }
}
