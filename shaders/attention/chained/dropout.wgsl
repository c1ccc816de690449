// probs[b,h,i,s] = kept(b,h,t,s) ? probs[b,h,i,s] · keep_scale : 0, in place, for the queries t = query_begin + i
//                                                                                       probs [B,H,queries,S]
// An invocation handles the four keys of one Philox block.

#import shared/grid
#import attention/dropout

@group(0) @binding(1) var<storage, read_write> probs: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_workgroup(workgroup, workgroups);
    if (tile > params.blocks / WORKGROUP_SIZE) {
        return;
    }
    let block = tile * WORKGROUP_SIZE + lane;
    if (block >= params.blocks) {
        return;
    }
    let row = block / params.row_blocks;
    let quad = block % params.row_blocks;
    let i = row % params.queries;
    let head = row / params.queries;
    let h = head % params.problem.query_heads;
    let b = head / params.problem.query_heads;
    let kept = kept_quad(b, h, params.query_begin + i, quad);
    let start = row * params.problem.key_len + quad * 4u;
    let count = min(4u, params.problem.key_len - quad * 4u);
    for (var j = 0u; j < count; j++) {
        probs[start + j] = select(0.0, probs[start + j] * keep_scale(), kept[j]);
    }
}
