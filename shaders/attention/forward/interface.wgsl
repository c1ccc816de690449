// Common to the layouts of fused attention: bindings, tiles of rows, the key range of a tile, and the epilogue of a row.
//
// Rows are the pairs (t, g) of one key/value head's group, so k and v are read once for its G heads. A layout processes
// TILE_ROWS rows and KEY_BLOCK keys at a time.

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
    // The batch element: absolute, and within the bound window.
    b: u32,
    batch: u32,
    key_head: u32,
    // G
    group: u32,
    // The first row, and the number of rows per key/value head, within the bound window.
    first_row: u32,
    rows: u32,
    // Positions of the first and the last row among the keys.
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

/// Offset of a row in q and out, relative to the first bound row.
fn row_at(tile: Tile, row: u32) -> u32 {
    let query = tile.batch * params.queries + row / tile.group;
    return (query * params.problem.query_heads + head_of(tile, row)) * HEAD_DIM;
}

/// Index of a row in lse, and in the first split's state.
fn lse_index(tile: Tile, row: u32) -> u32 {
    return (tile.b * params.problem.query_heads + head_of(tile, row)) * params.problem.query_len + query_of(tile, row);
}

/// Elements from one key to the next in k and v.
fn key_stride() -> u32 {
    return params.problem.key_heads * HEAD_DIM;
}

/// Offset in k and v of the first bound key of the tile's batch element and head, relative to the first bound key.
fn keys_at(tile: Tile) -> u32 {
    return tile.batch * params.keys * key_stride() + tile.key_head * HEAD_DIM;
}

/// The range of keys in the tile's split that its rows may see; it begins at a block boundary.
fn keys_of(tile: Tile) -> vec2<u32> {
    let begin = params.key_begin + tile.split * params.keys_per_split;
    let end = min(params.key_end, begin + params.keys_per_split);
    return keys_seen(tile.first_position, tile.last_position, begin, end, KEY_BLOCK);
}

/// Epilogue of a row: if `stored`, writes its lse after the `last` keys, else its state. Returns the factor to apply to its
/// sum of values.
fn end_row(index: u32, split: u32, row_max: f32, row_sum: f32, last: bool, stored: bool) -> f32 {
    // The largest weight is at least 1, so a sum of exactly 0 means that no key is visible.
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
