// What the kernels of fused attention share: parameters, the keys that a tile of rows sees, and those of a row. They take
// KEY_BLOCK keys at a time.

struct Params {
    visibility: Visibility,
    // T, S, H and Hkv of the whole.
    query_len: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    scale: f32,
    // What q and out are bound of: so many queries from this one on, of each batch element from this one on.
    batch_begin: u32,
    query_begin: u32,
    queries: u32,
    // What k and v are bound of.
    key_base: u32,
    keys: u32,
    // Where the first row begins in each.
    q_base: u32,
    out_base: u32,
    k_base: u32,
    v_base: u32,
    tiles_row: u32,
    // The tiles of this dispatch.
    tile_begin: u32,
    tile_end: u32,
    // The keys of this dispatch, whole blocks but for the end, and of each workgroup.
    key_begin: u32,
    key_end: u32,
    splits: u32,
    keys_per_split: u32,
    // From one split to the next, in elements.
    out_stride: u32,
    state_stride: u32,
    dropout_q_offset: u32,
    dropout_batch_offset: u32,
    dropout_threshold: u32,
    seed_low: u32,
    seed_high: u32,
    keep_scale: f32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

const NEGATIVE_INFINITY: u32 = 0xff800000u;
// Below every score that this kernel tells from it, and so far from the end of f32 that differences stay finite.
const LOWEST: f32 = -1.0e38;
const LN_2: f32 = 0.6931471805599453;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> mask_bits: array<u32>;
@group(0) @binding(6) var<storage, read_write> lse: array<u32>;
// Pairs of row_max and row_sum, [splits,B,H,T].
@group(0) @binding(7) var<storage, read_write> state: array<vec2<f32>>;

fn largest(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}

/// The keys of this split that queries at these positions may see, from the beginning of a block.
fn keys_of(first_position: u32, last_position: u32, split: u32) -> vec2<u32> {
    let begin = params.key_begin + split * params.keys_per_split;
    let end = min(params.key_end, begin + params.keys_per_split);
    return keys_seen(first_position, last_position, begin, end, KEY_BLOCK);
}

fn wild_start(b: u32, key_head: u32) -> u32 {
    return params.visibility.wild_start + (b * params.key_heads + key_head) * params.visibility.wild_stride;
}

/// Whether key s of this batch element and head has a value that is NaN or infinite. For WEIGH alone.
fn is_wild(b: u32, key_head: u32, s: u32) -> bool {
    return mask_bit(wild_start(b, key_head), s);
}

/// Whether any key of a block is wild.
fn block_is_wild(b: u32, key_head: u32, block: u32) -> bool {
    var wild = 0u;
    for (var w = 0u; w < BLOCK_WORDS; w++) {
        wild |= mask_bits[wild_start(b, key_head) + (min(block + 32u * w, params.key_len - 1u) >> 5u)];
    }
    return wild != 0u;
}
