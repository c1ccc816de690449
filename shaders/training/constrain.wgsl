// norm = √squares[the vector of w[i]]
// w[i] = MAX_NORM       w[i] · clip(norm, low, high) / (ε + norm)
//        MIN_MAX_NORM   w[i] · (rate · clip(norm, low, high) + (1 − rate) · norm) / (ε + norm)
//        UNIT_NORM      w[i] / (ε + norm)
//        NON_NEG        max(w[i], 0)                                                 in place, w of any shape
//
// The axes of w are merged into groups. The stride of a group is what one step along it adds to the index in squares: 0 where
// the norm runs over the group.

#import shared/grid

const MAX_NORM: u32 = 0u;
const MIN_MAX_NORM: u32 = 1u;
const UNIT_NORM: u32 = 2u;
const NON_NEG: u32 = 3u;

const EPSILON: f32 = 1e-7;

@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;

/// The index in squares of the vector that element i belongs to.
fn vector_of(i: u32) -> u32 {
    var rest = i;
    var vector = 0u;
    for (var group = params.groups; group > 0u; group--) {
        let length = params.lengths[(group - 1u) / 4u][(group - 1u) % 4u];
        vector += rest % length * params.strides[(group - 1u) / 4u][(group - 1u) % 4u];
        rest /= length;
    }
    return vector;
}

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
    let value = w[i];
    if (RULE == NON_NEG) {
        // Not max, which may turn NaN into a number.
        w[i] = select(value, 0.0, value < 0.0);
        return;
    }
    let norm = sqrt(squares[vector_of(i)]);
    let clipped = min(max(norm, params.low), params.high);
    var desired = clipped;
    if (RULE == MIN_MAX_NORM) {
        desired = params.rate * clipped + (1.0 - params.rate) * norm;
    }
    if (RULE == UNIT_NORM) {
        desired = 1.0;
    }
    w[i] = value * (desired / (EPSILON + norm));
}
