// y[o,s,i] = factor · Σ map(x[o,l,i], other[o,l,i]) over l = s, s + segments, s + 2 · segments, … < length
//                                                                       (+ the old y[o,s,i], with ACCUMULATE)
//                                     x, other [outer,length,inner], y [outer,segments,inner]
// An invocation computes one element of y. Adjacent lanes read adjacent elements, whatever the shape. Long sums run the
// kernel again on its own results: the order of addition never varies, and rounding errors grow with the logarithm of the
// number of terms.

#import shared/grid

const VALUE: u32 = 0u;
const MAGNITUDE: u32 = 1u;
const SQUARE: u32 = 2u;
const SQUARED_DIFFERENCE: u32 = 3u;
const PRODUCT: u32 = 4u;
const MAGNITUDE_OFF_DIAGONAL: u32 = 5u;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> other: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

/// map(x, other) of element `at`, relative to x_base.
fn mapped(at: u32) -> f32 {
    let value = x[params.x_base + at];
    if (MAP == MAGNITUDE) {
        return abs(value);
    }
    if (MAP == SQUARE) {
        return value * value;
    }
    if (MAP == SQUARED_DIFFERENCE) {
        let difference = value - other[params.x_base + at];
        return difference * difference;
    }
    if (MAP == PRODUCT) {
        return value * other[params.x_base + at];
    }
    if (MAP == MAGNITUDE_OFF_DIAGONAL) {
        return select(abs(value), 0.0, (params.first + at) % params.diagonal == 0u);
    }
    return value;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = flat_element(workgroup, workgroups, lane, params.count);
    if (j >= params.count) {
        return;
    }
    let i = j % params.inner;
    let s = j / params.inner % params.segments;
    let o = j / params.inner / params.segments;
    let terms = (params.length - 1u - s) / params.segments + 1u;
    var at = (o * params.length + s) * params.inner + i;
    var sum = 0.0;
    for (var term = 0u; term < terms; term++) {
        sum += mapped(at);
        at += params.segments * params.inner;
    }
    sum *= params.factor;
    if (ACCUMULATE) {
        sum += y[params.y_base + j];
    }
    y[params.y_base + j] = sum;
}
