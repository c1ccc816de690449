// What the layouts of fused attention share: bindings, tiles of rows, the keys that a tile may see, and the end of a row.
//
// Rows are the pairs (t, g) of the group of one key/value head, so k and v are read once for its G heads. They take TILE_ROWS
// rows and KEY_BLOCK keys at a time.

#import shared/numbers
#import shared/grid
#import shared/elements
#import attention/visible
#import attention/blocks
#import attention/score
#import attention/dropout
#import attention/nonfinite
#import attention/nonfinite_bits

@group(0) @binding(4) var<storage, read> mask_bits: array<u32>;
@group(0) @binding(6) var<storage, read_write> lse: array<u32>;
// Pairs of row_max and row_sum, [splits,B,H,T].
@group(0) @binding(7) var<storage, read_write> state: array<vec2<f32>>;

/// A tile of rows of one key/value head.
struct Tile {
    split: u32,
    // The batch element, in all and within what is bound.
    b: u32,
    batch: u32,
    key_head: u32,
    // G
    group: u32,
    // The first row, and the rows of the head within what is bound.
    first_row: u32,
    rows: u32,
    // Of the first and the last row among the keys.
    first_position: u32,
    last_position: u32,
}

fn tile_of(index: u32) -> Tile {
    var tile: Tile;
    tile.split = index % params.splits;
    let head = (index / params.splits) / params.tiles_row;
    tile.first_row = ((index / params.splits) % params.tiles_row) * TILE_ROWS;
    tile.key_head = head % params.problem.key_heads;
    tile.batch = head / params.problem.key_heads;
    tile.b = params.batch_begin + tile.batch;
    tile.group = params.problem.query_heads / params.problem.key_heads;
    tile.rows = params.queries * tile.group;
    let offset = params.query_begin + params.problem.visibility.q_offset;
    tile.first_position = offset + tile.first_row / tile.group;
    tile.last_position = offset + (min(tile.first_row + TILE_ROWS, tile.rows) - 1u) / tile.group;
    return tile;
}

/// The query head of a row.
fn head_of(tile: Tile, row: u32) -> u32 {
    return tile.key_head * tile.group + row % tile.group;
}

/// The query of a row.
fn query_of(tile: Tile, row: u32) -> u32 {
    return params.query_begin + row / tile.group;
}

/// Where a row begins in q and out, from the first row that is bound on.
fn row_at(tile: Tile, row: u32) -> u32 {
    let query = tile.batch * params.queries + row / tile.group;
    return (query * params.problem.query_heads + head_of(tile, row)) * HEAD_DIM;
}

/// The index of a row in lse, and in state of the first split.
fn lse_index(tile: Tile, row: u32) -> u32 {
    return (tile.b * params.problem.query_heads + head_of(tile, row)) * params.problem.query_len + query_of(tile, row);
}

/// From one key to the next in k and v.
fn key_stride() -> u32 {
    return params.problem.key_heads * HEAD_DIM;
}

/// Where the first bound key of the tile's head begins in k and v, from the first that is bound on.
fn keys_at(tile: Tile) -> u32 {
    return tile.batch * params.keys * key_stride() + tile.key_head * HEAD_DIM;
}

/// The keys of the tile's split that its rows may see, from the beginning of a block.
fn keys_of(tile: Tile) -> vec2<u32> {
    let begin = params.key_begin + tile.split * params.keys_per_split;
    let end = min(params.key_end, begin + params.keys_per_split);
    return keys_seen(tile.first_position, tile.last_position, begin, end, KEY_BLOCK);
}

/// Ends a row: writes its lse, or with more keys to come its state, if the row is `stored`. Returns what its sum of values is to be
/// multiplied by.
fn end_row(index: u32, split: u32, row_max: f32, row_sum: f32, last: bool, stored: bool) -> f32 {
    // The largest weight is at least 1, so a sum of exactly 0 means that nothing is seen.
    let nothing = row_sum == 0.0;
    let total = select(row_sum, 1.0, nothing);
    if (stored) {
        if (last) {
            lse[index] = select(bitcast<u32>(row_max + log2(total) * LN_2), NEGATIVE_INFINITY, nothing);
        } else {
            state[split * params.state_stride + index] = vec2<f32>(row_max, row_sum);
        }
    }
    return select(1.0, keep_scale() / total, last);
}
