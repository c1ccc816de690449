// Fused attention with an online softmax (Dao et al., FlashAttention-2): memory O(T), no T × S buffer.
//
// out[b,t,h,d] = Σ_s kept · exp(score(t,s) − lse[b,h,t]) · v[b,s,h/G,d] over the keys s that query t sees
//                                          q [B,T,H,D], k and v [B,S,Hkv,D], out [B,T,H,D], lse [B,H,T]
//
//     for each block of keys that a row of the workgroup may see:
//         load k and v of the block into workgroup memory, once for all rows
//         for eight keys at a time:
//             score = scale · q·k, where visible
//             row_max, row_sum and out are rescaled to the new maximum; out gains p · v
//     out /= row_sum, lse = row_max + ln(row_sum)
//
// A lane owns one row; rows are the pairs (t, g) of the group of one key/value head, so that its k and v are loaded once
// for G heads. Many keys are split over dispatches, which carry row_max and row_sum in `state` and the sum in out.

struct Params {
    visibility: Visibility,
    query_len: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    scale: f32,
    tiles_row: u32,
    // The tiles of this dispatch.
    tile_begin: u32,
    tile_end: u32,
    // The keys of this dispatch, whole blocks but for the end.
    key_begin: u32,
    key_end: u32,
    dropout_q_offset: u32,
    dropout_batch_offset: u32,
    dropout_threshold: u32,
    seed_low: u32,
    seed_high: u32,
    keep_scale: f32,
}

const NEGATIVE_INFINITY: u32 = 0xff800000u;
// Below every score that this kernel tells from it, and so far from the end of f32 that differences stay finite.
const LOWEST: f32 = -1.0e38;
const LOG2_E: f32 = 1.4426950408889634;
const LN_2: f32 = 0.6931471805599453;
// Vectors of four that hold a row of D.
const QUADS: u32 = (HEAD_DIM + 3u) / 4u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<u32>;
@group(0) @binding(2) var<storage, read> k: array<u32>;
@group(0) @binding(3) var<storage, read> v: array<u32>;
@group(0) @binding(4) var<storage, read> mask_bits: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<storage, read_write> lse: array<u32>;
// [B,H,T] pairs of row_max and row_sum.
@group(0) @binding(7) var<storage, read_write> state: array<vec2<f32>>;

var<workgroup> k_block: array<vec4<f32>, KEY_BLOCK * QUADS>;
var<workgroup> v_block: array<vec4<f32>, KEY_BLOCK * QUADS>;
// Not 0 if a value of the block is NaN or infinite.
var<workgroup> wild: atomic<u32>;

fn load_q(index: u32) -> f32 {
    return decode(q[word_of(index, Q_TYPE)], index, Q_TYPE);
}

fn load_k(index: u32) -> f32 {
    return decode(k[word_of(index, K_TYPE)], index, K_TYPE);
}

fn load_v(index: u32) -> f32 {
    return decode(v[word_of(index, V_TYPE)], index, V_TYPE);
}

/// Elements 4·quad … of the row that begins at `start`; 0 past D.
fn quad_of_q(start: u32, quad: u32) -> vec4<f32> {
    let d = vec4<u32>(0u, 1u, 2u, 3u) + 4u * quad;
    let i = start + min(d, vec4<u32>(HEAD_DIM - 1u));
    return select(vec4<f32>(), vec4<f32>(load_q(i.x), load_q(i.y), load_q(i.z), load_q(i.w)), d < vec4<u32>(HEAD_DIM));
}

fn quad_of_k(start: u32, quad: u32) -> vec4<f32> {
    let d = vec4<u32>(0u, 1u, 2u, 3u) + 4u * quad;
    let i = start + min(d, vec4<u32>(HEAD_DIM - 1u));
    return select(vec4<f32>(), vec4<f32>(load_k(i.x), load_k(i.y), load_k(i.z), load_k(i.w)), d < vec4<u32>(HEAD_DIM));
}

fn quad_of_v(start: u32, quad: u32) -> vec4<f32> {
    let d = vec4<u32>(0u, 1u, 2u, 3u) + 4u * quad;
    let i = start + min(d, vec4<u32>(HEAD_DIM - 1u));
    return select(vec4<f32>(), vec4<f32>(load_v(i.x), load_v(i.y), load_v(i.z), load_v(i.w)), d < vec4<u32>(HEAD_DIM));
}

/// Whether key s exists in this dispatch and query t sees it.
fn sees(b: u32, h: u32, t: u32, s: u32) -> bool {
    return s < params.key_end && visible(b, h, t, min(s, params.key_len - 1u));
}

fn largest(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
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
    let group = params.query_heads / params.key_heads;
    let rows = params.query_len * group;
    let first_row = (tile % params.tiles_row) * WORKGROUP_SIZE;
    let head = tile / params.tiles_row;
    let key_head = head % params.key_heads;
    let b = head / params.key_heads;
    // Rows past the end repeat the last one and are not stored.
    let row = min(first_row + lane, rows - 1u);
    let t = row / group;
    let h = key_head * group + row % group;
    let q_start = ((b * params.query_len + t) * params.query_heads + h) * HEAD_DIM;
    let state_index = (b * params.query_heads + h) * params.query_len + t;

    // The keys that any row of this workgroup may see.
    let first_position = first_row / group + params.visibility.q_offset;
    let last_position = (min(first_row + WORKGROUP_SIZE, rows) - 1u) / group + params.visibility.q_offset;
    let causal = (params.visibility.flags & HAS_CAUSAL) != 0u;
    let window = params.visibility.window;
    var begin = params.key_begin;
    var end = params.key_end;
    if (causal) {
        end = min(end, last_position + 1u);
    }
    if (window != 0u) {
        if (first_position >= window) {
            begin = max(begin, ((first_position - window + 1u) / KEY_BLOCK) * KEY_BLOCK);
        }
        if (window < 0x80000000u && last_position < 0x80000000u) {
            end = min(end, last_position + window);
        }
    }
    let masked = (params.visibility.flags & (HAS_ATTENTION_MASK | HAS_QUERY_MASK | HAS_KEY_MASK)) != 0u;

    var query: array<vec4<f32>, QUADS>;
    var sum: array<vec4<f32>, QUADS>;
    var row_max = LOWEST;
    var row_sum = 0.0;
    for (var i = 0u; i < QUADS; i++) {
        query[i] = quad_of_q(q_start, i) * params.scale;
        sum[i] = vec4<f32>();
    }
    if (params.key_begin > 0u) {
        row_max = state[state_index].x;
        row_sum = state[state_index].y;
        for (var i = 0u; i < QUADS; i++) {
            let d = vec4<u32>(0u, 1u, 2u, 3u) + 4u * i;
            let at = q_start + min(d, vec4<u32>(HEAD_DIM - 1u));
            let carried = vec4<f32>(out[at.x], out[at.y], out[at.z], out[at.w]);
            sum[i] = select(vec4<f32>(), carried, d < vec4<u32>(HEAD_DIM));
        }
    }

    for (var block = begin; block < end; block += KEY_BLOCK) {
        workgroupBarrier();
        if (lane == 0u) {
            atomicStore(&wild, 0u);
        }
        workgroupBarrier();
        for (var i = lane; i < KEY_BLOCK * QUADS; i += WORKGROUP_SIZE) {
            let s = min(block + i / QUADS, params.key_len - 1u);
            let start = ((b * params.key_len + s) * params.key_heads + key_head) * HEAD_DIM;
            let value = quad_of_v(start, i % QUADS);
            k_block[i] = quad_of_k(start, i % QUADS);
            v_block[i] = value;
            if (!finite(value)) {
                atomicStore(&wild, 1u);
            }
        }
        workgroupBarrier();
        let tame = atomicLoad(&wild) == 0u;
        // Whether every row sees every key of the block.
        var clear = !masked && block + KEY_BLOCK <= params.key_end;
        if (causal) {
            clear = clear && block + KEY_BLOCK - 1u <= first_position;
        }
        if (window != 0u) {
            clear = clear && max(last_position, block) - block < window
                && max(block + KEY_BLOCK - 1u, first_position) - first_position < window;
        }

        for (var j = 0u; j < KEY_BLOCK; j += 8u) {
            let s = block + j;
            if (s >= end) {
                break;
            }
            var low = vec4<f32>();
            var high = vec4<f32>();
            for (var i = 0u; i < QUADS; i++) {
                let x = query[i];
                let at = j * QUADS + i;
                low += vec4<f32>(
                    dot(x, k_block[at]), dot(x, k_block[at + QUADS]),
                    dot(x, k_block[at + 2u * QUADS]), dot(x, k_block[at + 3u * QUADS]));
                high += vec4<f32>(
                    dot(x, k_block[at + 4u * QUADS]), dot(x, k_block[at + 5u * QUADS]),
                    dot(x, k_block[at + 6u * QUADS]), dot(x, k_block[at + 7u * QUADS]));
            }
            var see_low = vec4<bool>(true);
            var see_high = vec4<bool>(true);
            if (!clear) {
                see_low = vec4<bool>(sees(b, h, t, s), sees(b, h, t, s + 1u), sees(b, h, t, s + 2u), sees(b, h, t, s + 3u));
                see_high = vec4<bool>(
                    sees(b, h, t, s + 4u), sees(b, h, t, s + 5u), sees(b, h, t, s + 6u), sees(b, h, t, s + 7u));
            }
            // What is −inf by overflow is not seen either: its weight is 0.
            see_low = see_low & (bitcast<vec4<u32>>(low) != vec4<u32>(NEGATIVE_INFINITY));
            see_high = see_high & (bitcast<vec4<u32>>(high) != vec4<u32>(NEGATIVE_INFINITY));
            low = select(vec4<f32>(LOWEST), low, see_low);
            high = select(vec4<f32>(LOWEST), high, see_high);
            let new_max = max(row_max, max(largest(low), largest(high)));
            let shrink = exp2((row_max - new_max) * LOG2_E);
            row_max = new_max;
            var p_low = select(vec4<f32>(), exp2((low - new_max) * LOG2_E), see_low);
            var p_high = select(vec4<f32>(), exp2((high - new_max) * LOG2_E), see_high);
            row_sum = row_sum * shrink + dot(p_low, vec4<f32>(1.0)) + dot(p_high, vec4<f32>(1.0));
            if (DROPOUT) {
                let key = vec2<u32>(params.seed_low, params.seed_high);
                let query_at = t + params.dropout_q_offset;
                let batch_at = b + params.dropout_batch_offset;
                let random_low = philox(vec4<u32>(s / 4u, query_at, h, batch_at), key);
                let random_high = philox(vec4<u32>(s / 4u + 1u, query_at, h, batch_at), key);
                let threshold = vec4<u32>(params.dropout_threshold);
                p_low = select(vec4<f32>(), p_low, random_low >= threshold);
                p_high = select(vec4<f32>(), p_high, random_high >= threshold);
            }
            if (tame) {
                for (var i = 0u; i < QUADS; i++) {
                    let at = j * QUADS + i;
                    sum[i] = sum[i] * shrink
                        + p_low.x * v_block[at] + p_low.y * v_block[at + QUADS]
                        + p_low.z * v_block[at + 2u * QUADS] + p_low.w * v_block[at + 3u * QUADS]
                        + p_high.x * v_block[at + 4u * QUADS] + p_high.y * v_block[at + 5u * QUADS]
                        + p_high.z * v_block[at + 6u * QUADS] + p_high.w * v_block[at + 7u * QUADS];
                }
            } else {
                for (var i = 0u; i < QUADS; i++) {
                    let at = j * QUADS + i;
                    sum[i] = sum[i] * shrink
                        + weigh(p_low.x, v_block[at]) + weigh(p_low.y, v_block[at + QUADS])
                        + weigh(p_low.z, v_block[at + 2u * QUADS]) + weigh(p_low.w, v_block[at + 3u * QUADS])
                        + weigh(p_high.x, v_block[at + 4u * QUADS]) + weigh(p_high.y, v_block[at + 5u * QUADS])
                        + weigh(p_high.z, v_block[at + 6u * QUADS]) + weigh(p_high.w, v_block[at + 7u * QUADS]);
                }
            }
        }
    }

    if (first_row + lane >= rows) {
        return;
    }
    var factor = 1.0;
    if (params.key_end == params.key_len) {
        // The largest weight is 1, so a sum of exactly 0 means that nothing is seen.
        let nothing = row_sum == 0.0;
        let total = select(row_sum, 1.0, nothing);
        factor = params.keep_scale / total;
        lse[state_index] = select(bitcast<u32>(row_max + log2(total) * LN_2), NEGATIVE_INFINITY, nothing);
    } else {
        state[state_index] = vec2<f32>(row_max, row_sum);
    }
    for (var i = 0u; i < QUADS; i++) {
        let result = sum[i] * factor;
        let at = q_start + 4u * i;
        out[at] = result.x;
        if (4u * i + 1u < HEAD_DIM) {
            out[at + 1u] = result.y;
        }
        if (4u * i + 2u < HEAD_DIM) {
            out[at + 2u] = result.z;
        }
        if (4u * i + 3u < HEAD_DIM) {
            out[at + 3u] = result.w;
        }
    }
}
