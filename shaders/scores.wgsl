// scores[b,h,i,s] = scale · Σ_d q[b,t,h,d] · k[b,s,h/G,d] where visible, else −inf, for the queries t = query_begin + i
//                                                    q [B,T,H,D], k [B,S,Hkv,D], scores [B,H,queries,S]
// A workgroup computes, for one b and one key/value head, 8 rows × (8 · lanes) keys. Rows are the pairs (i, g) of the
// group, g fastest: the G query heads that share a key/value head share its keys here too. A lane owns keys s,
// s + lanes, … No workgroup memory.

struct Params {
    visibility: Visibility,
    query_len: u32,
    // The queries of this dispatch.
    query_begin: u32,
    queries: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    head_dim: u32,
    scale: f32,
    tiles_row: u32,
    tiles_key: u32,
    // The tiles of this dispatch.
    tile_begin: u32,
    tile_end: u32,
}

const NEGATIVE_INFINITY: u32 = 0xff800000u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<u32>;
@group(0) @binding(2) var<storage, read> k: array<u32>;
@group(0) @binding(3) var<storage, read> mask_bits: array<u32>;
@group(0) @binding(4) var<storage, read_write> scores: array<u32>;

fn load_q(index: u32) -> f32 {
    return decode(q[word_of(index, Q_TYPE)], index, Q_TYPE);
}

fn load_k(index: u32) -> f32 {
    return decode(k[word_of(index, K_TYPE)], index, K_TYPE);
}

fn group_size() -> u32 {
    return params.query_heads / params.key_heads;
}

/// Where row `row` of the group of key/value head `key_head` begins in q.
fn q_start(b: u32, key_head: u32, row: u32) -> u32 {
    let g = group_size();
    let clamped = min(row, params.queries * g - 1u);
    let t = params.query_begin + clamped / g;
    let h = key_head * g + clamped % g;
    return ((b * params.query_len + t) * params.query_heads + h) * params.head_dim;
}

fn store(b: u32, h: u32, i: u32, s: u32, dot: f32) {
    if (s >= params.key_len) {
        return;
    }
    let index = ((b * params.query_heads + h) * params.queries + i) * params.key_len + s;
    // Whatever the dot product is (NaN from padding, say), a key that is not seen leaves no trace of it.
    scores[index] = select(NEGATIVE_INFINITY, bitcast<u32>(params.scale * dot), visible(b, h, params.query_begin + i, s));
}

fn store_row(b: u32, key_head: u32, row: u32, s: u32, low: vec4<f32>, high: vec4<f32>) {
    let g = group_size();
    let i = row / g;
    let h = key_head * g + row % g;
    if (i >= params.queries) {
        return;
    }
    store(b, h, i, s, low.x);
    store(b, h, i, s + WORKGROUP_SIZE, low.y);
    store(b, h, i, s + 2u * WORKGROUP_SIZE, low.z);
    store(b, h, i, s + 3u * WORKGROUP_SIZE, low.w);
    store(b, h, i, s + 4u * WORKGROUP_SIZE, high.x);
    store(b, h, i, s + 5u * WORKGROUP_SIZE, high.y);
    store(b, h, i, s + 6u * WORKGROUP_SIZE, high.z);
    store(b, h, i, s + 7u * WORKGROUP_SIZE, high.w);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = params.tile_begin + flat_workgroup(workgroup, workgroups);
    if (tile >= params.tile_end) {
        return;
    }
    let s = (tile % params.tiles_key) * 8u * WORKGROUP_SIZE + lane;
    let rows = tile / params.tiles_key;
    let row = (rows % params.tiles_row) * 8u;
    let head = rows / params.tiles_row;
    let key_head = head % params.key_heads;
    let b = head / params.key_heads;

    let q0 = q_start(b, key_head, row);
    let q1 = q_start(b, key_head, row + 1u);
    let q2 = q_start(b, key_head, row + 2u);
    let q3 = q_start(b, key_head, row + 3u);
    let q4 = q_start(b, key_head, row + 4u);
    let q5 = q_start(b, key_head, row + 5u);
    let q6 = q_start(b, key_head, row + 6u);
    let q7 = q_start(b, key_head, row + 7u);
    // Keys past the end repeat the last one and are not stored.
    let last_key = vec4<u32>(params.key_len - 1u);
    let steps = vec4<u32>(0u, 1u, 2u, 3u) * WORKGROUP_SIZE + s;
    let width = params.key_heads * params.head_dim;
    let k_start = b * params.key_len * width + key_head * params.head_dim;
    let k_low = min(steps, last_key) * width + k_start;
    let k_high = min(steps + 4u * WORKGROUP_SIZE, last_key) * width + k_start;

    var a0 = vec4<f32>(); var b0 = vec4<f32>();
    var a1 = vec4<f32>(); var b1 = vec4<f32>();
    var a2 = vec4<f32>(); var b2 = vec4<f32>();
    var a3 = vec4<f32>(); var b3 = vec4<f32>();
    var a4 = vec4<f32>(); var b4 = vec4<f32>();
    var a5 = vec4<f32>(); var b5 = vec4<f32>();
    var a6 = vec4<f32>(); var b6 = vec4<f32>();
    var a7 = vec4<f32>(); var b7 = vec4<f32>();
    let end = params.head_dim;
    for (var d = 0u; d < end; d++) {
        let low = vec4<f32>(
            load_k(k_low.x + d), load_k(k_low.y + d), load_k(k_low.z + d), load_k(k_low.w + d));
        let high = vec4<f32>(
            load_k(k_high.x + d), load_k(k_high.y + d), load_k(k_high.z + d), load_k(k_high.w + d));
        let v0 = load_q(q0 + d); a0 += v0 * low; b0 += v0 * high;
        let v1 = load_q(q1 + d); a1 += v1 * low; b1 += v1 * high;
        let v2 = load_q(q2 + d); a2 += v2 * low; b2 += v2 * high;
        let v3 = load_q(q3 + d); a3 += v3 * low; b3 += v3 * high;
        let v4 = load_q(q4 + d); a4 += v4 * low; b4 += v4 * high;
        let v5 = load_q(q5 + d); a5 += v5 * low; b5 += v5 * high;
        let v6 = load_q(q6 + d); a6 += v6 * low; b6 += v6 * high;
        let v7 = load_q(q7 + d); a7 += v7 * low; b7 += v7 * high;
    }
    store_row(b, key_head, row, s, a0, b0);
    store_row(b, key_head, row + 1u, s, a1, b1);
    store_row(b, key_head, row + 2u, s, a2, b2);
    store_row(b, key_head, row + 3u, s, a3, b3);
    store_row(b, key_head, row + 4u, s, a4, b4);
    store_row(b, key_head, row + 5u, s, a5, b5);
    store_row(b, key_head, row + 6u, s, a6, b6);
    store_row(b, key_head, row + 7u, s, a7, b7);
}
