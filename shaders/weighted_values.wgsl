// out[b,t,h,d] = Σ_s probs[b,h,i,s] · v[b,s,h/G,d] for the queries t = query_begin + i
//                                                    probs [B,H,queries,S], v [B,S,Hkv,D], out [B,T,H,D]
// A workgroup computes, for one b and one key/value head, 8 rows × (8 · lanes) values of d. Rows are the pairs (i, g) of
// the group as in scores. A lane owns d, d + lanes, … A key of probability 0 adds nothing, even if its value is NaN or
// infinite. No workgroup memory. Many keys are split over dispatches, which carry the sum in out.

struct Params {
    query_len: u32,
    // The queries of this dispatch.
    query_begin: u32,
    queries: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    head_dim: u32,
    key_begin: u32,
    key_end: u32,
    tiles_row: u32,
    tiles_d: u32,
    // The tiles of this dispatch.
    tile_begin: u32,
    tile_end: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> probs: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn load_v(index: u32) -> f32 {
    return decode(v[word_of(index, V_TYPE)], index, V_TYPE);
}

fn group_size() -> u32 {
    return params.query_heads / params.key_heads;
}

/// Where row `row` of the group of key/value head `key_head` begins in probs.
fn probs_start(b: u32, key_head: u32, row: u32) -> u32 {
    let g = group_size();
    let clamped = min(row, params.queries * g - 1u);
    let i = clamped / g;
    let h = key_head * g + clamped % g;
    return ((b * params.query_heads + h) * params.queries + i) * params.key_len;
}

fn store(start: u32, d: u32, sum: f32) {
    if (d >= params.head_dim) {
        return;
    }
    if (params.key_begin > 0u) {
        out[start + d] += sum;
    } else {
        out[start + d] = sum;
    }
}

fn store_row(b: u32, key_head: u32, row: u32, d: u32, low: vec4<f32>, high: vec4<f32>) {
    let g = group_size();
    let i = row / g;
    let h = key_head * g + row % g;
    if (i >= params.queries) {
        return;
    }
    let t = params.query_begin + i;
    let start = ((b * params.query_len + t) * params.query_heads + h) * params.head_dim;
    store(start, d, low.x);
    store(start, d + WORKGROUP_SIZE, low.y);
    store(start, d + 2u * WORKGROUP_SIZE, low.z);
    store(start, d + 3u * WORKGROUP_SIZE, low.w);
    store(start, d + 4u * WORKGROUP_SIZE, high.x);
    store(start, d + 5u * WORKGROUP_SIZE, high.y);
    store(start, d + 6u * WORKGROUP_SIZE, high.z);
    store(start, d + 7u * WORKGROUP_SIZE, high.w);
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
    let d = (tile % params.tiles_d) * 8u * WORKGROUP_SIZE + lane;
    let rows = tile / params.tiles_d;
    let row = (rows % params.tiles_row) * 8u;
    let head = rows / params.tiles_row;
    let key_head = head % params.key_heads;
    let b = head / params.key_heads;

    let p0 = probs_start(b, key_head, row);
    let p1 = probs_start(b, key_head, row + 1u);
    let p2 = probs_start(b, key_head, row + 2u);
    let p3 = probs_start(b, key_head, row + 3u);
    let p4 = probs_start(b, key_head, row + 4u);
    let p5 = probs_start(b, key_head, row + 5u);
    let p6 = probs_start(b, key_head, row + 6u);
    let p7 = probs_start(b, key_head, row + 7u);
    // Values past the end repeat the last one and are not stored.
    let last = vec4<u32>(params.head_dim - 1u);
    let steps = vec4<u32>(0u, 1u, 2u, 3u) * WORKGROUP_SIZE + d;
    let width = params.key_heads * params.head_dim;
    let v_start = b * params.key_len * width + key_head * params.head_dim;
    let v_low = min(steps, last) + v_start;
    let v_high = min(steps + 4u * WORKGROUP_SIZE, last) + v_start;

    var a0 = vec4<f32>(); var b0 = vec4<f32>();
    var a1 = vec4<f32>(); var b1 = vec4<f32>();
    var a2 = vec4<f32>(); var b2 = vec4<f32>();
    var a3 = vec4<f32>(); var b3 = vec4<f32>();
    var a4 = vec4<f32>(); var b4 = vec4<f32>();
    var a5 = vec4<f32>(); var b5 = vec4<f32>();
    var a6 = vec4<f32>(); var b6 = vec4<f32>();
    var a7 = vec4<f32>(); var b7 = vec4<f32>();
    let end = params.key_end;
    for (var s = params.key_begin; s < end; s++) {
        let v_row = s * width;
        let low = vec4<f32>(
            load_v(v_row + v_low.x), load_v(v_row + v_low.y), load_v(v_row + v_low.z), load_v(v_row + v_low.w));
        let high = vec4<f32>(
            load_v(v_row + v_high.x), load_v(v_row + v_high.y), load_v(v_row + v_high.z), load_v(v_row + v_high.w));
        let w0 = probs[p0 + s];
        let w1 = probs[p1 + s];
        let w2 = probs[p2 + s];
        let w3 = probs[p3 + s];
        let w4 = probs[p4 + s];
        let w5 = probs[p5 + s];
        let w6 = probs[p6 + s];
        let w7 = probs[p7 + s];
        if (finite(low) && finite(high)) {
            a0 += w0 * low; b0 += w0 * high;
            a1 += w1 * low; b1 += w1 * high;
            a2 += w2 * low; b2 += w2 * high;
            a3 += w3 * low; b3 += w3 * high;
            a4 += w4 * low; b4 += w4 * high;
            a5 += w5 * low; b5 += w5 * high;
            a6 += w6 * low; b6 += w6 * high;
            a7 += w7 * low; b7 += w7 * high;
        } else {
            a0 += weigh(w0, low); b0 += weigh(w0, high);
            a1 += weigh(w1, low); b1 += weigh(w1, high);
            a2 += weigh(w2, low); b2 += weigh(w2, high);
            a3 += weigh(w3, low); b3 += weigh(w3, high);
            a4 += weigh(w4, low); b4 += weigh(w4, high);
            a5 += weigh(w5, low); b5 += weigh(w5, high);
            a6 += weigh(w6, low); b6 += weigh(w6, high);
            a7 += weigh(w7, low); b7 += weigh(w7, high);
        }
    }
    store_row(b, key_head, row, d, a0, b0);
    store_row(b, key_head, row + 1u, d, a1, b1);
    store_row(b, key_head, row + 2u, d, a2, b2);
    store_row(b, key_head, row + 3u, d, a3, b3);
    store_row(b, key_head, row + 4u, d, a4, b4);
    store_row(b, key_head, row + 5u, d, a5, b5);
    store_row(b, key_head, row + 6u, d, a6, b6);
    store_row(b, key_head, row + 7u, d, a7, b7);
}
