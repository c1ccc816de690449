// probs[b,h,i,s] = kept(b,h,t,s) ? probs[b,h,i,s] · keep_scale : 0, in place, for the queries t = query_begin + i
//                                                                                       probs [B,H,queries,S]
//
// kept: word s % 4 of philox(counter (s / 4, t + q_offset, h, b + batch_offset), key seed) is at least `threshold` = dropout · 2^32.
// An invocation takes the four keys of one philox block.

struct Params {
    queries: u32,
    key_len: u32,
    query_heads: u32,
    // Philox blocks in a row, and in all.
    row_blocks: u32,
    blocks: u32,
    // Added to i and b: the place of this dispatch in a larger call.
    q_offset: u32,
    batch_offset: u32,
    threshold: u32,
    seed_low: u32,
    seed_high: u32,
    keep_scale: f32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
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
    let h = head % params.query_heads;
    let b = head / params.query_heads;
    let counter = vec4<u32>(quad, i + params.q_offset, h, b + params.batch_offset);
    let random = philox(counter, vec2<u32>(params.seed_low, params.seed_high));
    let kept = random >= vec4<u32>(params.threshold);
    let start = row * params.key_len + quad * 4u;
    let count = min(4u, params.key_len - quad * 4u);
    for (var j = 0u; j < count; j++) {
        probs[start + j] = select(0.0, probs[start + j] * params.keep_scale, kept[j]);
    }
}
