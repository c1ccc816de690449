// The gradients of attention with respect to q, k and v (Dao et al., FlashAttention-2): memory O(T), no T × S buffer.
//
//     forward    score = scale · q·k     p = exp(score − lse)     out = Σ_s kept(p) · v
//     backward   dp = kept(d_out·v)      ds = p · (dp − delta)    with delta = Σ_d d_out ∘ out
//                dq = scale · Σ_s ds · k      dk = scale · Σ_t ds · q      dv = Σ_t kept(p) · d_out
//                                      q, d_out, dq [B,T,H,D], k, v, dk, dv [B,S,Hkv,D], stats [B,H,T] of lse and delta
//
// One kernel in two roles. A workgroup owns a tile of rows and loops over all columns that its rows can see or be seen by:
//
//             rows                          columns                          sums over the columns
//             (t, g) of a group: q, d_out   keys: k, v                       dq
//     KEYS    keys: k, v                    (t, g), g after g: q, d_out      dk, dv, over the G heads of the group too
//
//     for each block of columns:
//         tile_x = row_x · column_x, tile_y = row_y · column_y        each lane its rows × columns, in registers
//         p = exp(tile_x − lse), 0 where hidden
//         tile_x = p · (kept(tile_y) − delta), tile_y = kept(p)        each lane whole columns of vectors
//         result_x += tile_x · column_x, KEYS: result_y += tile_y · column_y      each lane its rows × d, in registers
//
// Lanes form a grid of ROW_LANES × COLUMN_LANES. A lane owns ROWS rows, COLUMN_QUADS groups of four columns of a block, and
// QUADS vectors of four of D. tile_x and tile_y pass through workgroup memory between the lanes that compute them and the
// lanes that read them. With STAGED, the columns' operands are staged there too. Heads wider than the lanes own together
// are computed in chunks of D, one tile per chunk. Many columns are split over dispatches, which carry the sums in the results.

#import shared/grid
#import shared/elements
#import shared/numbers
#import attention/visible
#import attention/blocks
#import attention/score
#import attention/dropout

// Vectors of four in a row of D, and in the chunk of it that a tile owns.
const ROW_QUADS: u32 = (HEAD_DIM + 3u) / 4u;
const CHUNK_QUADS: u32 = COLUMN_LANES * QUADS;
// KEYS: at most 32, so that one word of bits covers a column of the tile.
const TILE_ROWS: u32 = ROW_LANES * ROWS;
const BLOCK_QUADS: u32 = COLUMN_LANES * COLUMN_QUADS;
const BLOCK: u32 = BLOCK_QUADS * 4u;
// Lanes along a row of vectors of tile_x and tile_y, and rows processed at a time.
const QUAD_LANES: u32 = min(WORKGROUP_SIZE, BLOCK_QUADS);
const QUAD_ROWS: u32 = WORKGROUP_SIZE / QUAD_LANES;
// Words of visibility bits per row, one bit per column of the block. KEYS: one word per column, one bit per row of the tile.
const ROW_WORDS: u32 = BLOCK / 32u;
const WORDS: u32 = select(TILE_ROWS * ROW_WORDS, BLOCK, KEYS);

@group(0) @binding(5) var<storage, read> stats: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> mask_bits: array<u32>;

// For each row of the tile and each column of the block: tile_x holds scores, then ds; tile_y holds dp, then kept(p).
var<workgroup> tile_x: array<vec4<f32>, TILE_ROWS * BLOCK_QUADS>;
var<workgroup> tile_y: array<vec4<f32>, TILE_ROWS * BLOCK_QUADS>;
var<workgroup> seen: array<u32, WORDS>;
var<workgroup> any_seen: u32;
#if DROPOUT
var<workgroup> kept: array<u32, WORDS>;
#end
#if STAGED
// column_x or column_y of the block. Rows are padded by one vector against bank conflicts. Columns 4·i + j are contiguous
// for each j.
const STAGE_STRIDE: u32 = ROW_QUADS + 1u;
var<workgroup> stage: array<vec4<f32>, BLOCK * STAGE_STRIDE>;

fn stage_row(column: u32) -> u32 {
    return ((column & 3u) * BLOCK_QUADS + (column >> 2u)) * STAGE_STRIDE;
}

#for o in xy
/// Stages column_$o of the block that begins at `at`; columns past `last` repeat the last one.
fn stage_$o(lane: u32, at: u32, last: u32, stride: u32) {
    for (var e = lane; e < BLOCK * ROW_QUADS; e += WORKGROUP_SIZE) {
        let column = e / ROW_QUADS;
        let c = e % ROW_QUADS;
        stage[stage_row(column) + c] = column_$o_quad(at + min(column, last) * stride + 4u * c, HEAD_DIM - 4u * c);
    }
}
#end
#end

/// Bits of the keys s to s + count − 1 that dropout keeps for (b, h, t); count ≤ 32.
fn kept_word(b: u32, h: u32, t: u32, s: u32, count: u32) -> u32 {
    var word = 0u;
    for (var i = 0u; i < count; i += 4u) {
        let bits = select(vec4<u32>(), vec4<u32>(1u, 2u, 4u, 8u), kept_quad(b, h, t, (s + i) / 4u));
        word |= (bits.x | bits.y | bits.z | bits.w) << i;
    }
    return word;
}

/// The lse, in powers of two, and delta of a query.
fn stats_of(b: u32, h: u32, t: u32) -> vec2<f32> {
    return bitcast<vec2<f32>>(stats[(b * params.problem.query_heads + h) * params.problem.query_len + t]);
}

/// The range of queries that may see one of these keys; it begins at a block boundary.
fn queries_seeing(first_key: u32, last_key: u32) -> vec2<u32> {
    let window = params.problem.visibility.window;
    let offset = params.problem.visibility.q_offset;
    var begin = params.column_begin;
    var end = params.column_end;
    var first_position = 0u;
    if ((params.problem.visibility.flags & HAS_CAUSAL) != 0u) {
        first_position = first_key;
    }
    if (window != 0u) {
        if (first_key >= window) {
            first_position = max(first_position, first_key - window + 1u);
        }
        if (window < 0x80000000u && last_key < 0x80000000u) {
            end = min(end, max(last_key + window, offset) - offset);
        }
    }
    begin = max(begin, ((max(first_position, offset) - offset) / BLOCK) * BLOCK);
    return vec2<u32>(begin, end);
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
    let chunk = (tile % params.chunks) * CHUNK_QUADS;
    let first_row = ((tile / params.chunks) % params.tiles_row) * TILE_ROWS;
    let head = (tile / params.chunks) / params.tiles_row;
    let key_head = head % params.problem.key_heads;
    let batch = head / params.problem.key_heads; // index within the bound window
    let b = params.batch_begin + batch;
    let group = params.problem.query_heads / params.problem.key_heads;
    // With one row of lanes, row_lane is a constant: addresses without it stay uniform, and drivers load those once.
    var row_lane = 0u;
    if (ROW_LANES > 1u) {
        row_lane = lane / COLUMN_LANES;
    }
    let column_lane = lane - row_lane * COLUMN_LANES;
    var first_quad_row = 0u;
    if (QUAD_ROWS > 1u) {
        first_quad_row = lane / QUAD_LANES;
    }
    let quad_lane = lane - first_quad_row * QUAD_LANES;
    let masked = is_masked();
    let q_stride = params.problem.query_heads * HEAD_DIM;
    let k_stride = params.problem.key_heads * HEAD_DIM;
    let q_head = params.q_base + batch * params.problem.query_len * q_stride + key_head * group * HEAD_DIM;
    let k_head = params.k_base + batch * params.problem.key_len * k_stride + key_head * HEAD_DIM;

    // This lane's rows. Rows past the end repeat the last one.
#if KEYS
    let rows = params.problem.key_len;
    let last_key = min(first_row + TILE_ROWS, rows) - 1u;
    let range = queries_seeing(first_row, last_key);
    let heads = group;
    let column_stride = q_stride;
    let last_column = params.problem.query_len - 1u;
#for i in ROWS: let row$i = k_head + min(first_row + row_lane * ROWS + ${i}u, last_key) * k_stride;
#else
    let rows = params.problem.query_len * group;
    let first_position = first_row / group + params.problem.visibility.q_offset;
    let last_position = (min(first_row + TILE_ROWS, rows) - 1u) / group + params.problem.visibility.q_offset;
    let range = keys_seen(first_position, last_position, params.column_begin, params.column_end, BLOCK);
    let heads = 1u;
    let column_stride = k_stride;
    let last_column = params.problem.key_len - 1u;
#for i in ROWS
    let index$i = min(first_row + row_lane * ROWS + ${i}u, rows - 1u);
    let row$i = q_head + (index$i / group) * q_stride + (index$i % group) * HEAD_DIM;
#end
#end
#if ALIGNED: #for i in ROWS: let rv$i = row$i / 4u;
#for j in QUADS: let d$j = 4u * min(chunk + column_lane + ${j}u * COLUMN_LANES, ROW_QUADS - 1u);
#for i in ROWS, j in QUADS
    var x$i_$j = vec4<f32>();
#if KEYS: var y$i_$j = vec4<f32>();
#end
    if (params.column_begin > 0u) {
#for i in ROWS, j in QUADS
        if (chunk + column_lane + ${j}u * COLUMN_LANES < ROW_QUADS) {
            x$i_$j = result_x_quad(row$i + d$j, HEAD_DIM - d$j);
#if KEYS: y$i_$j = result_y_quad(row$i + d$j, HEAD_DIM - d$j);
        }
#end
    }

    let blocks = (max(range.y, range.x) - range.x + BLOCK - 1u) / BLOCK;
    for (var step = 0u; step < heads * blocks; step++) {
        let g = step / blocks;
        let block = range.x + (step - g * blocks) * BLOCK;
        let end = min(range.y, block + BLOCK);
        let h = key_head * group + g;
#if KEYS
        let columns_head = q_head + g * HEAD_DIM;
        let open = sees_all(block + params.problem.visibility.q_offset, end - 1u + params.problem.visibility.q_offset, first_row, last_key + 1u - first_row);
#else
        let columns_head = k_head;
        let open = sees_all(first_position, last_position, block, BLOCK);
#end
        let block_at = columns_head + block * column_stride;
        let mixed = masked || !open || block + BLOCK > end;

        // Bits of the visible pairs, and of the pairs that dropout keeps.
        if (mixed) {
            for (var w = lane; w < WORDS; w += WORKGROUP_SIZE) {
#if KEYS
                var word = 0u;
                if (block + w < end) {
                    word = visible_word(b, h, block + w, first_row & ~31u) >> (first_row & 31u);
                }
                seen[w] = word & lowest_bits(last_key + 1u - first_row);
#else
                let row = min(first_row + w / ROW_WORDS, rows - 1u);
                seen[w] = seen_word(b, key_head * group + row % group, row / group, block + 32u * (w % ROW_WORDS), end);
#end
            }
            workgroupBarrier();
            if (lane == 0u) {
                var any = 0u;
                for (var w = 0u; w < WORDS; w++) {
                    any |= seen[w];
                }
                any_seen = any;
            }
            if (workgroupUniformLoad(&any_seen) == 0u) {
                continue;
            }
        }
#if DROPOUT
        for (var w = lane; w < WORDS; w += WORKGROUP_SIZE) {
#if KEYS
            kept[w] = kept_word(b, h, min(block + w, last_column), first_row, TILE_ROWS);
#else
            let row = min(first_row + w / ROW_WORDS, rows - 1u);
            kept[w] = kept_word(b, key_head * group + row % group, row / group, block + 32u * (w % ROW_WORDS), 32u);
#end
        }
        workgroupBarrier();
#end

        // scores = row_x · column_x, dp = row_y · column_y
#for o in xy
        {
#for i in ROWS, j in COLUMN_QUADS: var s$i_$j = vec4<f32>();
#if STAGED
            workgroupBarrier();
            stage_$o(lane, block_at, last_column - block, column_stride);
            workgroupBarrier();
#end
#for j in COLUMN_QUADS, x in xyzw
#if STAGED: let c$j$x = stage_row((column_lane + ${j}u * COLUMN_LANES) * 4u + ${#x}u);
#else: let c$j$x = columns_head + min(block + (column_lane + ${j}u * COLUMN_LANES) * 4u + ${#x}u, last_column) * column_stride;
#if !STAGED, ALIGNED: let cv$j$x = c$j$x / 4u;
#end
            for (var c = 0u; c < ROW_QUADS; c++) {
                let count = HEAD_DIM - 4u * c;
#if ALIGNED: #for i in ROWS: let row_$i = row_$o_vector(rv$i + c);
#else: #for i in ROWS: let row_$i = row_$o_quad(row$i + 4u * c, count);
#for j in COLUMN_QUADS
                {
#if STAGED
#for x in xyzw: let c_$x = stage[c$j$x + c];
#else if ALIGNED
#for x in xyzw: let c_$x = column_$o_vector(cv$j$x + c);
#else
#for x in xyzw: let c_$x = column_$o_quad(c$j$x + 4u * c, count);
#end
#for i in ROWS: s$i_$j += vec4<f32>(dot(row_$i, c_x), dot(row_$i, c_y), dot(row_$i, c_z), dot(row_$i, c_w));
                }
#end
            }
#for i in ROWS, j in COLUMN_QUADS: tile_$o[(row_lane * ROWS + ${i}u) * BLOCK_QUADS + column_lane + ${j}u * COLUMN_LANES] = s$i_$j;
        }
#end
        workgroupBarrier();

        // p, kept(p) and ds. Hidden pairs are selected to 0, because their values may be non-finite.
        for (var quad = quad_lane; quad < BLOCK_QUADS; quad += QUAD_LANES) {
#if KEYS
#for x in xyzw: let stats_$x = stats_of(b, h, min(block + 4u * quad + ${#x}u, last_column));
            let lse = vec4<f32>(stats_x.x, stats_y.x, stats_z.x, stats_w.x);
            let delta = vec4<f32>(stats_x.y, stats_y.y, stats_z.y, stats_w.y);
            var seen_rows = vec4<u32>(0xffffffffu);
            if (mixed) {
                seen_rows = vec4<u32>(seen[4u * quad], seen[4u * quad + 1u], seen[4u * quad + 2u], seen[4u * quad + 3u]);
            }
#if DROPOUT: let kept_rows = vec4<u32>(kept[4u * quad], kept[4u * quad + 1u], kept[4u * quad + 2u], kept[4u * quad + 3u]);
#end
            for (var row = first_quad_row; row < TILE_ROWS; row += QUAD_ROWS) {
                let at = row * BLOCK_QUADS + quad;
#if KEYS
                let bit = vec4<u32>(1u << row);
                let sees = (seen_rows & bit) != vec4<u32>();
#if DROPOUT: let keeps = (kept_rows & bit) != vec4<u32>();
#else
                let index = min(first_row + row, rows - 1u);
                let stats_row = stats_of(b, key_head * group + index % group, index / group);
                let lse = vec4<f32>(stats_row.x);
                let delta = vec4<f32>(stats_row.y);
                var sees = vec4<bool>(true);
                if (mixed) {
                    sees = seen_quad(seen[row * ROW_WORDS + quad / 8u], quad);
                }
#if DROPOUT: let keeps = seen_quad(kept[row * ROW_WORDS + quad / 8u], quad);
#end
                let product = tile_x[at];
                let p = select(vec4<f32>(), exp2(score(product) * LOG2_E - lse), sees);
                var kept_p = p;
                var dp = tile_y[at];
#if DROPOUT
                kept_p = select(vec4<f32>(), p * keep_scale(), keeps);
                dp = select(vec4<f32>(), dp * keep_scale(), keeps);
#end
                tile_x[at] = select(vec4<f32>(), score_backward(p * (dp - delta), product), sees);
#if KEYS: tile_y[at] = kept_p;
            }
        }
        workgroupBarrier();

        // result_y += kept(p) · column_y, then result_x += ds · column_x
        let quads = (end - block + 3u) / 4u;
#for o in yx
#if RESULT_$o
#if STAGED
        workgroupBarrier();
        stage_$o(lane, block_at, last_column - block, column_stride);
        workgroupBarrier();
#end
        {
            // Addresses in elements, or in vectors of four (ALIGNED): the loop advances them by additions alone.
            let unit = select(1u, 4u, ALIGNED);
            let stride = column_stride / unit;
            let last = (columns_head + last_column * column_stride) / unit;
            var next = block_at / unit;
            for (var c = 0u; c < quads; c++) {
#for i in ROWS: let w$i = tile_$o[(row_lane * ROWS + ${i}u) * BLOCK_QUADS + c];
#for x in xyzw
                {
#if !STAGED: let at = min(next, last);
#for j in QUADS
#if STAGED: let c$j = stage[stage_row(4u * c + ${#x}u) + d$j / 4u];
#else if ALIGNED: let c$j = column_$o_vector(at + d$j / 4u);
#else: let c$j = column_$o_quad(at + d$j, HEAD_DIM - d$j);
#end
                    next += stride;
#for i in ROWS, j in QUADS: $o$i_$j += w$i.$x * c$j;
                }
#end
            }
        }
#end
#end
        workgroupBarrier();
    }

#for i in ROWS
    if (first_row + row_lane * ROWS + ${i}u < rows) {
#for j in QUADS
        if (chunk + column_lane + ${j}u * COLUMN_LANES < ROW_QUADS) {
            result_x_store(row$i + d$j, HEAD_DIM - d$j, x$i_$j);
#if KEYS: result_y_store(row$i + d$j, HEAD_DIM - d$j, y$i_$j);
        }
#end
    }
#end
}
