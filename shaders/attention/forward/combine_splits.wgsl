// Combines the partial results of a row's splits (split-K):
//
// max = maxᵢ max_i,  share_i = exp(max_i − max),  sum = Σ share_i · sum_i
// out[b,t,h,d] = keep_scale · Σ share_i · parts[i,b,t,h,d] / sum,  lse[b,h,t] = max + ln(sum)
//                             parts [splits,B,T,H,D], state [splits,B,H,T,2], out [B,T,H,D], lse [B,H,T]
//
// A workgroup combines one row; a lane takes every WORKGROUP_SIZE-th element.

#import shared/grid
#import shared/numbers

@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // The row (b, h, t) in the order of lse.
    let row = flat_workgroup(workgroup, workgroups);
    if (row >= params.rows) {
        return;
    }
    let t = row % params.query_len;
    let h = (row / params.query_len) % params.query_heads;
    let b = row / (params.query_len * params.query_heads);
    let out_at = ((b * params.query_len + t) * params.query_heads + h) * params.head_dim;
    let splits = params.splits;
    var row_max = state[row].x;
    for (var i = 1u; i < splits; i++) {
        row_max = max(row_max, state[i * params.rows + row].x);
    }
    var row_sum = 0.0;
    for (var i = 0u; i < splits; i++) {
        let part = state[i * params.rows + row];
        row_sum += part.y * exp2((part.x - row_max) * LOG2_E);
    }
    let nothing = row_sum == 0.0;
    let total = select(row_sum, 1.0, nothing);
    if (lane == 0u) {
        lse[row] = select(bitcast<u32>(row_max + log2(total) * LN_2), NEGATIVE_INFINITY, nothing);
    }
    let factor = params.keep_scale / total;
    let end = params.head_dim;
    for (var d = lane; d < end; d += WORKGROUP_SIZE) {
        var sum = 0.0;
        for (var i = 0u; i < splits; i++) {
            let share = exp2((state[i * params.rows + row].x - row_max) * LOG2_E);
            sum += share * parts[i * params.rows * end + out_at + d];
        }
        out[out_at + d] = sum * factor;
    }
}
