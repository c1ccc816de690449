// stats[b,h,t] = lse[b,h,t] in powers of two, and delta[b,h,t] = Σ_d d_out[b,t,h,d] · out[b,t,h,d]
//                                                         d_out and out [B,T,H,D], lse [B,H,T], stats [B,H,T] of both
// A query that sees no key gets lse 0, because its probabilities are never read. A query with a non-finite d_out gets lse
// NaN, which propagates to the gradients of the keys that it sees and to no others.
// Each lane takes one row of d_out.

#import shared/grid
#import shared/elements
#import shared/numbers
#import attention/nonfinite

const ROW_QUADS: u32 = (HEAD_DIM + 3u) / 4u;
@group(0) @binding(3) var<storage, read> lse: array<u32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<u32>>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (row >= params.rows) {
        return;
    }
    let h = row % params.query_heads;
    let t = (row / params.query_heads) % params.query_len;
    let b = params.batch_begin + row / params.query_heads / params.query_len;
    let at = params.base + row * HEAD_DIM;
    var sum = vec4<f32>();
    var is_finite = true;
    for (var c = 0u; c < ROW_QUADS; c++) {
        let gradient = d_out_quad(at + 4u * c, HEAD_DIM - 4u * c);
        sum += gradient * out_quad(at + 4u * c, HEAD_DIM - 4u * c);
        is_finite = is_finite && finite(gradient);
    }
    let index = (b * params.query_heads + h) * params.query_len + t;
    var word = bitcast<u32>(bitcast<f32>(lse[index]) * LOG2_E);
    if (lse[index] == NEGATIVE_INFINITY) {
        word = 0u;
    } else if (!is_finite) {
        word = 0x7fc00000u;
    }
    stats[index] = vec2<u32>(word, bitcast<u32>(sum.x + sum.y + sum.z + sum.w));
}
