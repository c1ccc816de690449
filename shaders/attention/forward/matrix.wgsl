// out[b,t,h,d] = Σ_s softmax_s(scale · q[b,t,h,·]·k[b,s,h/G,·]) · v[b,s,h/G,d] over the keys s that query t sees
//                                          q [B,T,H,D], k and v [B,S,Hkv,D], out [B,T,H,D], lse [B,H,T]
//
//     for each block of keys that a row of the tile may see:
//         scores = q · kᵀ                                        in cooperative matrices
//         row_max, row_sum, p = exp(scores − row_max), 0 where hidden or dropped       LANES_PER_ROW lanes a row
//         out = out · exp(old row_max − row_max)                 where row_max has grown
//         out += p · v                                           in cooperative matrices
//     out /= row_sum, lse = row_max + ln(row_sum)
//
// Cooperative matrices of MATRIX × MATRIX, held by a subgroup: f16 products, f32 sums. Rows are the pairs (t, g) of one
// key/value head's group. A tile has PARTS parts of ROWS matrices of rows; each subgroup computes one part and holds its q and
// out. With fewer subgroups than parts, further rounds compute the others, so no subgroup size is assumed. WGSL gives no
// access to a matrix's elements, so scores, p, and `out` when it is rescaled, pass through workgroup memory. Lazy rescaling:
// row_max is raised (and `out` rescaled) only when a block's maximum exceeds it by more than GROWTH. So p stays below
// exp(GROWTH), well within the range of f16.
//
// Many keys are split over dispatches, which carry row_max and row_sum in `state` and the sum in out.

#import attention/forward/interface
#import shared/halves

const PARTS: u32 = 4u;
const PART_ROWS: u32 = ROWS * MATRIX;
const TILE_ROWS: u32 = PARTS * PART_ROWS;
const LANES_PER_ROW: u32 = WORKGROUP_SIZE / TILE_ROWS;
// D, in whole matrices.
const WIDTH_QUADS: u32 = DEPTH * MATRIX / 4u;
const MATRIX_QUADS: u32 = MATRIX / 4u;
// The keys of a block, in vectors of four and in words of mask bits, and the vectors per lane in the softmax.
const BLOCK_QUADS: u32 = KEY_BLOCK / 4u;
const BLOCK_WORDS: u32 = KEY_BLOCK / 32u;
const LANE_QUADS: u32 = BLOCK_QUADS / LANES_PER_ROW;
const GROWTH: f32 = 5.5;
// Rows are padded by 16 bytes against bank conflicts.
const STAGE_STRIDE: u32 = DEPTH * MATRIX + 8u;
const P_STRIDE: u32 = KEY_BLOCK + 8u;
const SCORE_STRIDE: u32 = KEY_BLOCK + 4u;

// Staged operands: the rows of q first, then k and v of each block in turn.
var<workgroup> stage: array<f16, KEY_BLOCK * STAGE_STRIDE>;
var<workgroup> p: array<f16, TILE_ROWS * P_STRIDE>;
// The scores of each row; also one matrix column of `out` at a time while it is rescaled or stored.
var<workgroup> scores: array<f32, TILE_ROWS * SCORE_STRIDE>;
// Reduction over the lanes of a row: their maxima, in the end their sums.
var<workgroup> lane_values: array<f32, WORKGROUP_SIZE>;
// The rescaling factor of each row of `out`, and whether any of them is not 1.
var<workgroup> factor: array<f32, TILE_ROWS>;
var<workgroup> grown: atomic<u32>;
// Whether any row sees a key of the block.
var<workgroup> block_seen: atomic<u32>;

fn scores_quad(at: u32) -> vec4<f32> {
    return vec4<f32>(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) all_subgroups: u32,
) {
    let subgroups = min(all_subgroups, PARTS_AT_ONCE);
    let index = params.tile_begin + flat_workgroup(workgroup, workgroups);
    if (index >= params.tile_end) {
        return;
    }
    let tile = tile_of(index);
    let b = tile.b;
    let key_head = tile.key_head;
    let first_row = tile.first_row;
    let rows = tile.rows;
    let masked = is_masked();
    let range = keys_of(tile);
    let begin = range.x;
    let end = range.y;
    let key_stride = key_stride();
    let head_at = keys_at(tile);
    // The last bound key; keys past it repeat it.
    let last_key = params.keys - 1u;

    // The row whose softmax this lane shares with others. Rows past the end repeat the last one and are not stored.
    let local_row = lane / LANES_PER_ROW;
    let share = lane % LANES_PER_ROW;
    let row_index = min(first_row + local_row, rows - 1u);
    let t = query_of(tile, row_index);
    let h = head_of(tile, row_index);
    let lse_at = lse_index(tile, row_index);

    for (var round = 0u; round < PARTS; round += subgroups) {
        let part = round + subgroup;
        let part_row = part * PART_ROWS;
        let working = subgroup < subgroups && part < PARTS;
        // The rows of this round.
        let round_begin = round * PART_ROWS;
        let round_end = min(round + subgroups, PARTS) * PART_ROWS;
        let owning = local_row >= round_begin && local_row < round_end;

        // q of the part, as matrices.
#for i in ROWS, c in DEPTH: var q$i_$c = MatrixLeft();
        for (var from_row = 0u; from_row < TILE_ROWS; from_row += KEY_BLOCK) {
            workgroupBarrier();
            for (var e = lane; e < KEY_BLOCK * WIDTH_QUADS; e += WORKGROUP_SIZE) {
                let row = min(first_row + from_row + e / WIDTH_QUADS, rows - 1u);
                let d = 4u * (e % WIDTH_QUADS);
                let at = row_at(tile, row);
                var quad = vec4<f32>();
                if (d < HEAD_DIM) {
                    quad = q_quad(params.q_base + at + d, HEAD_DIM - d);
                }
                let half = halves(quad);
#for x in xyzw: stage[(e / WIDTH_QUADS) * STAGE_STRIDE + d + ${#x}u] = half.$x;
            }
            workgroupBarrier();
            if (working && part_row >= from_row && part_row < from_row + KEY_BLOCK) {
#for i in ROWS, c in DEPTH: q$i_$c = coopLoadT<MatrixLeft>(&stage[(part_row - from_row + ${i}u * MATRIX) * STAGE_STRIDE + ${c}u * MATRIX], STAGE_STRIDE);
            }
        }

        var row_max = LOWEST;
        // Of this lane's share of the row's keys.
        var row_sum = 0.0;
#for i in ROWS, c in DEPTH: var out$i_$c = MatrixSum();
        if (params.key_begin > 0u) {
            row_max = state[lse_at].x;
            row_sum = select(0.0, state[lse_at].y, share == 0u);
#for c in DEPTH
            for (var e = round_begin * MATRIX_QUADS + lane; e < round_end * MATRIX_QUADS; e += WORKGROUP_SIZE) {
                let row = min(first_row + e / MATRIX_QUADS, rows - 1u);
                let d = ${c}u * MATRIX + 4u * (e % MATRIX_QUADS);
                let at = row_at(tile, row);
                var quad = vec4<f32>();
                if (d < HEAD_DIM) {
                    quad = out_quad(params.out_base + at + d, HEAD_DIM - d);
                }
                let to = (e / MATRIX_QUADS) * SCORE_STRIDE + 4u * (e % MATRIX_QUADS);
#for x in xyzw: scores[to + ${#x}u] = quad.$x;
            }
            workgroupBarrier();
            if (working) {
#for i in ROWS: out$i_$c = coopLoadT<MatrixSum>(&scores[(part_row + ${i}u * MATRIX) * SCORE_STRIDE], SCORE_STRIDE);
            }
            workgroupBarrier();
#end
        }

        for (var block = begin; block < end; block += KEY_BLOCK) {
            workgroupBarrier();
            if (masked) {
                if (lane == 0u) {
                    atomicStore(&block_seen, 0u);
                }
                workgroupBarrier();
                var any = 0u;
                for (var w = 0u; w < BLOCK_WORDS; w++) {
                    any |= seen_word(b, h, t, block + 32u * w, end);
                }
                if (owning && any != 0u) {
                    atomicStore(&block_seen, 1u);
                }
                workgroupBarrier();
                if (atomicLoad(&block_seen) == 0u) {
                    continue;
                }
            }
            let whole = !masked && block + KEY_BLOCK <= end && sees_all(tile.first_position, tile.last_position, block, KEY_BLOCK);

            // scores = q · kᵀ
            if (lane == 0u) {
                atomicStore(&grown, 0u);
            }
            for (var e = lane; e < KEY_BLOCK * WIDTH_QUADS; e += WORKGROUP_SIZE) {
                let key = e / WIDTH_QUADS;
                let d = 4u * (e % WIDTH_QUADS);
                var quad = vec4<f32>();
                if (d < HEAD_DIM) {
                    let s = min(block - params.key_base + key, last_key);
                    quad = k_quad(params.k_base + head_at + s * key_stride + d, HEAD_DIM - d);
                }
                let half = halves(quad);
#for x in xyzw: stage[key * STAGE_STRIDE + d + ${#x}u] = half.$x;
            }
            workgroupBarrier();
            if (working) {
                for (var key = 0u; key < KEY_BLOCK; key += MATRIX) {
#for i in ROWS: var s$i = MatrixSum();
#for c in DEPTH
                    {
                        let k = coopLoad<MatrixRight>(&stage[key * STAGE_STRIDE + ${c}u * MATRIX], STAGE_STRIDE);
#for i in ROWS: s$i = coopMultiplyAdd(q$i_$c, k, s$i);
                    }
#end
#for i in ROWS: coopStoreT(s$i, &scores[(part_row + ${i}u * MATRIX) * SCORE_STRIDE + key], SCORE_STRIDE);
                }
            }
            workgroupBarrier();

            // v, with zeros for keys past the end and for non-finite keys, so that a probability of 0 contributes 0.
            for (var e = lane; e < KEY_BLOCK * WIDTH_QUADS; e += WORKGROUP_SIZE) {
                let key = e / WIDTH_QUADS;
                let d = 4u * (e % WIDTH_QUADS);
                var quad = vec4<f32>();
                if (d < HEAD_DIM && block + key < end) {
                    var known = true;
#if GUARD_NONFINITE: known = !is_nonfinite(b, key_head, block + key);
                    if (known) {
                        quad = v_quad(params.v_base + head_at + (block + key - params.key_base) * key_stride + d, HEAD_DIM - d);
                    }
                }
                let half = halves(quad);
#for x in xyzw: stage[key * STAGE_STRIDE + d + ${#x}u] = half.$x;
            }
            // The softmax of a row: the maximum first, then the probabilities and their sum.
            let first_quad = share * LANE_QUADS;
            if (owning) {
                var most = LOWEST;
                for (var i = first_quad; i < first_quad + LANE_QUADS; i++) {
                    var word = 0xffffffffu;
                    if (!whole) {
                        word = seen_word(b, h, t, block + 32u * (i / 8u), end);
                    }
                    let quad_score = score(scores_quad(local_row * SCORE_STRIDE + 4u * i));
                    most = max(most, largest(select(vec4<f32>(LOWEST), quad_score, seen_quad(word, i))));
                }
                lane_values[lane] = most;
            }
            workgroupBarrier();
            if (owning) {
                var most = LOWEST;
                for (var i = 0u; i < LANES_PER_ROW; i++) {
                    most = max(most, lane_values[local_row * LANES_PER_ROW + i]);
                }
                var shrink = 1.0;
                if (most > row_max + GROWTH) {
                    shrink = exp2((row_max - most) * LOG2_E);
                    // At the first maximum `out` is still 0 and needs no rescaling.
                    if (row_max > LOWEST) {
                        atomicStore(&grown, 1u);
                    }
                    row_max = most;
                }
                row_sum *= shrink;
                if (share == 0u) {
                    factor[local_row] = shrink;
                }
                for (var i = first_quad; i < first_quad + LANE_QUADS; i++) {
                    var word = 0xffffffffu;
                    if (!whole) {
                        word = seen_word(b, h, t, block + 32u * (i / 8u), end);
                    }
                    let quad_score = score(scores_quad(local_row * SCORE_STRIDE + 4u * i));
                    var prob = select(vec4<f32>(), exp2((quad_score - row_max) * LOG2_E), seen_quad(word, i));
                    row_sum += prob.x + prob.y + prob.z + prob.w;
                    if (DROPOUT) {
                        prob = select(vec4<f32>(), prob, kept_quad(b, h, t, block / 4u + i));
                    }
                    let half = vec4<f16>(prob);
#for x in xyzw: p[local_row * P_STRIDE + 4u * i + ${#x}u] = half.$x;
                }
            }
            workgroupBarrier();

            // out = out · shrink, plus the products with non-finite values, which v left out.
            var nonfinite = false;
#if GUARD_NONFINITE: nonfinite = any_nonfinite(b, key_head, block, BLOCK_WORDS);
            if (nonfinite || atomicLoad(&grown) != 0u) {
#for c in DEPTH
                if (working) {
#for i in ROWS: coopStoreT(out$i_$c, &scores[(part_row + ${i}u * MATRIX) * SCORE_STRIDE + (${c}u & 1u) * MATRIX], SCORE_STRIDE);
                }
                workgroupBarrier();
                for (var e = round_begin * MATRIX_QUADS + lane; e < round_end * MATRIX_QUADS; e += WORKGROUP_SIZE) {
                    let row = e / MATRIX_QUADS;
                    let at = row * SCORE_STRIDE + (${c}u & 1u) * MATRIX + 4u * (e % MATRIX_QUADS);
                    var sum = scores_quad(at) * factor[row];
#if GUARD_NONFINITE
                    let d = ${c}u * MATRIX + 4u * (e % MATRIX_QUADS);
                    if (nonfinite && d < HEAD_DIM) {
                        for (var key = block; key < min(end, block + KEY_BLOCK); key++) {
                            if (is_nonfinite(b, key_head, key)) {
                                let v = v_quad(params.v_base + head_at + (key - params.key_base) * key_stride + d, HEAD_DIM - d);
                                sum += product_or_zero(f32(p[row * P_STRIDE + key - block]), v);
                            }
                        }
                    }
#end
#for x in xyzw: scores[at + ${#x}u] = sum.$x;
                }
                workgroupBarrier();
                if (working) {
#for i in ROWS: out$i_$c = coopLoadT<MatrixSum>(&scores[(part_row + ${i}u * MATRIX) * SCORE_STRIDE + (${c}u & 1u) * MATRIX], SCORE_STRIDE);
                }
#end
            }

            // out += p · v
            if (working) {
                for (var key = 0u; key < KEY_BLOCK; key += MATRIX) {
#for i in ROWS: let p$i = coopLoadT<MatrixLeft>(&p[(part_row + ${i}u * MATRIX) * P_STRIDE + key], P_STRIDE);
#for c in DEPTH
                    {
                        let v = coopLoadT<MatrixRight>(&stage[key * STAGE_STRIDE + ${c}u * MATRIX], STAGE_STRIDE);
#for i in ROWS: out$i_$c = coopMultiplyAdd(p$i, v, out$i_$c);
                    }
#end
                }
            }
        }

        let last = params.key_end == params.problem.key_len;
        workgroupBarrier();
        lane_values[lane] = row_sum;
        workgroupBarrier();
        if (owning && share == 0u) {
            var sum = 0.0;
            for (var i = 0u; i < LANES_PER_ROW; i++) {
                sum += lane_values[lane + i];
            }
            factor[local_row] = end_row(lse_at, 0u, row_max, sum, last, first_row + local_row < rows);
        }
#for c in DEPTH
        if (working) {
#for i in ROWS: coopStoreT(out$i_$c, &scores[(part_row + ${i}u * MATRIX) * SCORE_STRIDE + (${c}u & 1u) * MATRIX], SCORE_STRIDE);
        }
        workgroupBarrier();
        for (var e = round_begin * MATRIX_QUADS + lane; e < round_end * MATRIX_QUADS; e += WORKGROUP_SIZE) {
            let row = e / MATRIX_QUADS;
            let d = ${c}u * MATRIX + 4u * (e % MATRIX_QUADS);
            if (first_row + row < rows && d < HEAD_DIM) {
                let at = row_at(tile, first_row + row);
                let sum = scores_quad(row * SCORE_STRIDE + (${c}u & 1u) * MATRIX + 4u * (e % MATRIX_QUADS));
                out_store(params.out_base + at + d, HEAD_DIM - d, sum * factor[row]);
            }
        }
#end
    }
}
