// probs[b,h,i,s] = exp(scores[b,h,i,s] − row_max) / row_sum, in place; lse[b,h,query_begin + i] = row_max + ln(row_sum)
//                                                    scores, probs [B,H,queries,S], lse [B,H,T]
// A score of −inf (a hidden key) gives exactly 0. A row without a visible key gives zeros and lse −inf.
// A workgroup handles one row. Its lanes stride over the keys and reduce maxima and sums in workgroup memory.

#import shared/grid
#import shared/numbers

@group(0) @binding(1) var<storage, read_write> scores: array<u32>;
@group(0) @binding(2) var<storage, read_write> lse: array<u32>;

var<workgroup> shared_max: array<f32, WORKGROUP_SIZE>;
var<workgroup> shared_sum: array<f32, WORKGROUP_SIZE>;

/// exp(score − row_max), exactly 0 for a hidden key.
fn weight(word: u32, row_max: f32) -> f32 {
    if (word == NEGATIVE_INFINITY) {
        return 0.0;
    }
    return exp2((bitcast<f32>(word) - row_max) * LOG2_E);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_workgroup(workgroup, workgroups);
    if (row >= params.rows) {
        return;
    }
    let key_len = params.key_len;
    let start = row * key_len;

    var partial_max = LOWEST;
    for (var s = lane; s < key_len; s += WORKGROUP_SIZE) {
        let word = scores[start + s];
        if (word != NEGATIVE_INFINITY) {
            partial_max = max(partial_max, bitcast<f32>(word));
        }
    }
    shared_max[lane] = partial_max;
    workgroupBarrier();
    var row_max = LOWEST;
    for (var i = 0u; i < WORKGROUP_SIZE; i++) {
        row_max = max(row_max, shared_max[i]);
    }

    var partial_sum = 0.0;
    for (var s = lane; s < key_len; s += WORKGROUP_SIZE) {
        partial_sum += weight(scores[start + s], row_max);
    }
    shared_sum[lane] = partial_sum;
    workgroupBarrier();
    var row_sum = 0.0;
    for (var i = 0u; i < WORKGROUP_SIZE; i++) {
        row_sum += shared_sum[i];
    }

    // The largest weight is 1, so a sum of exactly 0 means that no key is visible.
    let nothing = row_sum == 0.0;
    let inverse = 1.0 / select(row_sum, 1.0, nothing);
    for (var s = lane; s < key_len; s += WORKGROUP_SIZE) {
        scores[start + s] = bitcast<u32>(weight(scores[start + s], row_max) * inverse);
    }
    if (lane == 0u) {
        let finite = row_max + log2(select(row_sum, 1.0, nothing)) * LN_2;
        let index = (row / params.queries) * params.query_len + params.query_begin + row % params.queries;
        lse[index] = select(bitcast<u32>(finite), NEGATIVE_INFINITY, nothing);
    }
}
