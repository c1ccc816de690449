// Fused attention with an online softmax (Dao et al., FlashAttention-2): memory O(T), no T × S buffer.
//
// out[b,t,h,d] = Σ_s kept · exp(score(t,s) − lse[b,h,t]) · v[b,s,h/G,d] over the keys s that query t sees
//                                          q [B,T,H,D], k and v [B,S,Hkv,D], out [B,T,H,D], lse [B,H,T]
//
//     for each block of keys that a row of the tile may see:
//         scores = q · kᵀ                           each lane its rows × keys, in registers
//         row_max, row_sum, p = exp(scores − row_max), 0 where hidden or dropped       each lane OWN whole rows
//         out = out · exp(old row_max − row_max) + p · v        each lane its rows × d, in registers
//     out /= row_sum, lse = row_max + ln(row_sum)
//
// Rows are the pairs (t, g) of one key/value head's group, so k and v are read once for its G heads. Lanes form a grid of
// ROW_LANES × COLUMN_LANES. A lane owns ROWS rows, KEY_QUADS groups of four keys of a block, and QUADS vectors of four of D.
// Probabilities pass through workgroup memory from the lanes that compute scores to the lanes that own softmax rows, and
// back. With STAGED, k and v are staged there too.
//
// Many keys are split over dispatches, which carry row_max and row_sum in `state` and the sum in out. With few rows, keys
// are also split over workgroups (PARTIAL): each writes its own `state` and sum for combine_splits.

#import attention/forward/interface

// Vectors of four in a row of D.
const ROW_QUADS: u32 = (HEAD_DIM + 3u) / 4u;
const TILE_ROWS: u32 = ROW_LANES * ROWS;
// The keys of a block, in vectors of four and in words of mask bits.
const BLOCK_QUADS: u32 = COLUMN_LANES * KEY_QUADS;
const KEY_BLOCK: u32 = BLOCK_QUADS * 4u;
const BLOCK_WORDS: u32 = KEY_BLOCK / 32u;

// Scores, then probabilities: tile rows × keys of the block.
var<workgroup> p: array<vec4<f32>, TILE_ROWS * BLOCK_QUADS>;
// The rescaling factor of each row's sum.
var<workgroup> factor: array<f32, TILE_ROWS>;
// Visibility bits of the block per row, and their conjunction and disjunction over all rows.
var<workgroup> row_seen: array<u32, TILE_ROWS * BLOCK_WORDS>;
var<workgroup> block_seen: u32;
const SEEN_NONE: u32 = 0u;
const SEEN_SOME: u32 = 1u;
const SEEN_ALL: u32 = 2u;
#if STAGED
// k of the block, then v. Rows are padded by one vector against bank conflicts. Keys 4·i + j are contiguous for each j.
const STAGE_STRIDE: u32 = ROW_QUADS + 1u;
var<workgroup> stage: array<vec4<f32>, KEY_BLOCK * STAGE_STRIDE>;

fn stage_row(key: u32) -> u32 {
    return ((key & 3u) * BLOCK_QUADS + (key >> 2u)) * STAGE_STRIDE;
}
#end

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = params.tile_begin + flat_workgroup(workgroup, workgroups);
    if (index >= params.tile_end) {
        return;
    }
    let tile = tile_of(index);
    let b = tile.b;
    let first_row = tile.first_row;
    let rows = tile.rows;
    // With one row of lanes, row_lane is a constant: addresses without it stay uniform, and drivers load those once.
    var row_lane = 0u;
    if (ROW_LANES > 1u) {
        row_lane = lane / COLUMN_LANES;
    }
    let column_lane = lane - row_lane * COLUMN_LANES;

    let masked = is_masked();
    let range = keys_of(tile);
    let begin = range.x;
    let end = range.y;

    // The rows whose products this lane computes. Rows past the end repeat the last one.
#for i in ROWS
    let row$i = min(first_row + row_lane * ROWS + ${i}u, rows - 1u);
    let at$i = row_at(tile, row$i);
    let q$i = params.q_base + at$i;
#if ALIGNED: let qv$i = q$i / 4u;
#for j in QUADS: var a$i_$j = vec4<f32>();
#end
    // The rows whose softmax this lane computes, if they are within TILE_ROWS.
#for o in OWN
    let softmax_row$o = min(first_row + lane + ${o}u * WORKGROUP_SIZE, rows - 1u);
    let t$o = query_of(tile, softmax_row$o);
    let h$o = head_of(tile, softmax_row$o);
    let lse_at$o = lse_index(tile, softmax_row$o);
    var row_max$o = LOWEST;
    var row_sum$o = 0.0;
#end
    if (!PARTIAL && params.key_begin > 0u) {
#for o in OWN
        row_max$o = state[lse_at$o].x;
        row_sum$o = state[lse_at$o].y;
#end
#for i in ROWS, j in QUADS: { let d = column_lane + ${j}u * COLUMN_LANES; if (d < ROW_QUADS) { a$i_$j = out_quad(params.out_base + at$i + 4u * d, HEAD_DIM - 4u * d); } }
    }
    let key_stride = key_stride();
    // The last bound key; keys past it repeat it.
    let last_key = params.keys - 1u;
    let k_head = params.k_base + keys_at(tile);
    let v_head = params.v_base + keys_at(tile);
    let v_last = v_head + last_key * key_stride;

    for (var block = begin; block < end; block += KEY_BLOCK) {
        let open = block + KEY_BLOCK <= end && sees_all(tile.first_position, tile.last_position, block, KEY_BLOCK);
        var seen = SEEN_ALL;
        if (masked || !open) {
#for o in OWN
            if (lane + ${o}u * WORKGROUP_SIZE < TILE_ROWS) {
                for (var w = 0u; w < BLOCK_WORDS; w++) {
                    row_seen[(lane + ${o}u * WORKGROUP_SIZE) * BLOCK_WORDS + w] = seen_word(b, h$o, t$o, block + 32u * w, end);
                }
            }
#end
            workgroupBarrier();
            if (lane == 0u) {
                var any = 0u;
                var all = 0xffffffffu;
                for (var i = 0u; i < TILE_ROWS * BLOCK_WORDS; i++) {
                    any |= row_seen[i];
                    all &= row_seen[i];
                }
                block_seen = select(select(SEEN_SOME, SEEN_ALL, all == 0xffffffffu), SEEN_NONE, any == 0u);
            }
            seen = workgroupUniformLoad(&block_seen);
            if (seen == SEEN_NONE) {
                continue;
            }
        }

        // scores = q · kᵀ
#if STAGED
        for (var e = lane; e < KEY_BLOCK * ROW_QUADS; e += WORKGROUP_SIZE) {
            let key = e / ROW_QUADS;
            let c = e % ROW_QUADS;
            let s = min(block - params.key_base + key, last_key);
            stage[stage_row(key) + c] = k_quad(k_head + s * key_stride + 4u * c, HEAD_DIM - 4u * c);
        }
        workgroupBarrier();
#end
#for j in KEY_QUADS, x in xyzw
#if STAGED: let k$j$x = stage_row((column_lane + ${j}u * COLUMN_LANES) * 4u + ${#x}u);
#else: let k$j$x = k_head + min(block - params.key_base + (column_lane + ${j}u * COLUMN_LANES) * 4u + ${#x}u, last_key) * key_stride;
#if !STAGED, ALIGNED: let kv$j$x = k$j$x / 4u;
#end
#for i in ROWS, j in KEY_QUADS: var s$i_$j = vec4<f32>();
        for (var c = 0u; c < ROW_QUADS; c++) {
            let count = HEAD_DIM - 4u * c;
#if ALIGNED: #for i in ROWS: let q_$i = q_vector(qv$i + c);
#else: #for i in ROWS: let q_$i = q_quad(q$i + 4u * c, count);
#for j in KEY_QUADS
            {
#if STAGED
#for x in xyzw: let k_$x = stage[k$j$x + c];
#else if ALIGNED
#for x in xyzw: let k_$x = k_vector(kv$j$x + c);
#else
#for x in xyzw: let k_$x = k_quad(k$j$x + 4u * c, count);
#end
#for i in ROWS: s$i_$j += vec4<f32>(dot(q_$i, k_x), dot(q_$i, k_y), dot(q_$i, k_z), dot(q_$i, k_w));
            }
#end
        }
#for i in ROWS, j in KEY_QUADS: p[(row_lane * ROWS + ${i}u) * BLOCK_QUADS + column_lane + ${j}u * COLUMN_LANES] = s$i_$j;
        workgroupBarrier();

#if STAGED
        for (var e = lane; e < KEY_BLOCK * ROW_QUADS; e += WORKGROUP_SIZE) {
            let key = e / ROW_QUADS;
            let c = e % ROW_QUADS;
            let s = min(block - params.key_base + key, last_key);
            stage[stage_row(key) + c] = v_quad(v_head + s * key_stride + 4u * c, HEAD_DIM - 4u * c);
        }
#end
        // The softmax of a row: the maximum first, then the probabilities and their sum.
#for o in OWN
        if (lane + ${o}u * WORKGROUP_SIZE < TILE_ROWS) {
            let row = lane + ${o}u * WORKGROUP_SIZE;
            let p_at = row * BLOCK_QUADS;
            var new_max = row_max$o;
            for (var w = 0u; w < BLOCK_WORDS; w++) {
                var word = 0xffffffffu;
                if (seen != SEEN_ALL) {
                    word = row_seen[row * BLOCK_WORDS + w];
                }
                for (var i = 8u * w; i < 8u * w + 8u; i++) {
                    let seen_score = select(vec4<f32>(LOWEST), score(p[p_at + i]), seen_quad(word, i));
                    p[p_at + i] = seen_score;
                    new_max = max(new_max, largest(seen_score));
                }
            }
            let shrink = exp2((row_max$o - new_max) * LOG2_E);
            row_max$o = new_max;
            row_sum$o *= shrink;
            factor[row] = shrink;
            for (var w = 0u; w < BLOCK_WORDS; w++) {
                var word = 0xffffffffu;
                if (seen != SEEN_ALL) {
                    word = row_seen[row * BLOCK_WORDS + w];
                }
                for (var i = 8u * w; i < 8u * w + 8u; i++) {
                    var prob = select(vec4<f32>(), exp2((p[p_at + i] - new_max) * LOG2_E), seen_quad(word, i));
                    row_sum$o += prob.x + prob.y + prob.z + prob.w;
                    if (DROPOUT) {
                        prob = select(vec4<f32>(), prob, kept_quad(b, h$o, t$o, block / 4u + i));
                    }
                    p[p_at + i] = prob;
                }
            }
        }
#end
        workgroupBarrier();

        // out = out · shrink + p · v
#for i in ROWS: let f$i = factor[row_lane * ROWS + ${i}u];
#for i in ROWS, j in QUADS: a$i_$j *= f$i;
        let quads = (min(end - block, KEY_BLOCK) + 3u) / 4u;
        var all_finite = true;
#if GUARD_NONFINITE: all_finite = !any_nonfinite(b, tile.key_head, block, BLOCK_WORDS);
        if (all_finite) {
#for j in QUADS: let d$j = 4u * min(column_lane + ${j}u * COLUMN_LANES, ROW_QUADS - 1u);
            // v's address in elements, or in vectors of four (ALIGNED): the loop advances it by additions alone.
            let v_unit = select(1u, 4u, ALIGNED);
            let v_stride = key_stride / v_unit;
            let v_end = v_last / v_unit;
            var v_row = v_head / v_unit + (block - params.key_base) * v_stride;
            for (var c = 0u; c < quads; c++) {
#for i in ROWS: let p$i = p[(row_lane * ROWS + ${i}u) * BLOCK_QUADS + c];
#for x in xyzw
                {
#if !STAGED: let v_at = min(v_row, v_end);
#for j in QUADS
#if STAGED: let v$j = stage[stage_row(4u * c + ${#x}u) + d$j / 4u];
#else if ALIGNED: let v$j = v_vector(v_at + d$j / 4u);
#else: let v$j = v_quad(v_at + d$j, HEAD_DIM - d$j);
#end
                    v_row += v_stride;
#for i in ROWS, j in QUADS: a$i_$j += p$i.$x * v$j;
                }
#end
            }
        }
#if GUARD_NONFINITE
        if (!all_finite) {
            // The block has a non-finite value: a probability of 0 must contribute exactly 0.
            for (var s = 0u; s < 4u * quads; s++) {
                let key_at = min(v_head + (block - params.key_base + s) * key_stride, v_last);
#for j in QUADS
                let d$j = 4u * min(column_lane + ${j}u * COLUMN_LANES, ROW_QUADS - 1u);
                let v$j = v_quad(key_at + d$j, HEAD_DIM - d$j);
#end
#for i in ROWS
                {
                    let prob = p[(row_lane * ROWS + ${i}u) * BLOCK_QUADS + s / 4u][s & 3u];
#for j in QUADS: a$i_$j += product_or_zero(prob, v$j);
                }
#end
            }
        }
#end
        workgroupBarrier();
    }

    let last = !PARTIAL && params.key_end == params.problem.key_len;
#for o in OWN
    if (lane + ${o}u * WORKGROUP_SIZE < TILE_ROWS) {
        let stored = first_row + lane + ${o}u * WORKGROUP_SIZE < rows;
        factor[lane + ${o}u * WORKGROUP_SIZE] =
            end_row(lse_at$o, tile.split, row_max$o, row_sum$o, last, stored);
    }
#end
    workgroupBarrier();
    let out_at = params.out_base + tile.split * params.out_stride;
#for i in ROWS
    if (first_row + row_lane * ROWS + ${i}u < rows) {
        let f = factor[row_lane * ROWS + ${i}u];
#for j in QUADS: { let d = column_lane + ${j}u * COLUMN_LANES; if (d < ROW_QUADS) { out_store(out_at + at$i + 4u * d, HEAD_DIM - 4u * d, a$i_$j * f); } }
    }
#end
}
