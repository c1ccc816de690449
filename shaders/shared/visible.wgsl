// Which key a query sees: the one rule, for a key and for 32 keys at once. Needs `params.visibility` and the bits that pack_mask wrote, `mask_bits`.

const HAS_CAUSAL: u32 = 1u;
const HAS_ATTENTION_MASK: u32 = 2u;
const HAS_QUERY_MASK: u32 = 4u;
const HAS_KEY_MASK: u32 = 8u;

struct Visibility {
    flags: u32,
    // Position of query 0 among the keys.
    q_offset: u32,
    // 0: no window.
    window: u32,
    // attention_mask: words to the next b, h and t, bits to the next s; 0 where the axis is broadcast.
    mask_stride_b: u32,
    mask_stride_h: u32,
    mask_stride_t: u32,
    mask_stride_s: u32,
    // query_mask and the merged key masks: first word, words to the next b.
    query_mask_start: u32,
    query_mask_stride_b: u32,
    key_mask_start: u32,
    key_mask_stride_b: u32,
    // Where the bits of wild keys begin, words to the next key/value head.
    wild_start: u32,
    wild_stride: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

fn mask_bit(start: u32, bit: u32) -> bool {
    return ((mask_bits[start + (bit >> 5u)] >> (bit & 31u)) & 1u) == 1u;
}

fn visible(b: u32, h: u32, t: u32, s: u32) -> bool {
    let flags = params.visibility.flags;
    let position = t + params.visibility.q_offset;
    var seen = true;
    if ((flags & HAS_CAUSAL) != 0u) {
        seen = s <= position;
    }
    if (params.visibility.window != 0u) {
        seen = seen && (max(position, s) - min(position, s)) < params.visibility.window;
    }
    if ((flags & HAS_ATTENTION_MASK) != 0u) {
        let row = b * params.visibility.mask_stride_b + h * params.visibility.mask_stride_h
            + t * params.visibility.mask_stride_t;
        seen = seen && mask_bit(row, s * params.visibility.mask_stride_s);
    }
    if ((flags & HAS_QUERY_MASK) != 0u) {
        seen = seen && mask_bit(params.visibility.query_mask_start + b * params.visibility.query_mask_stride_b, t);
    }
    if ((flags & HAS_KEY_MASK) != 0u) {
        seen = seen && mask_bit(params.visibility.key_mask_start + b * params.visibility.key_mask_stride_b, s);
    }
    return seen;
}

/// The lowest `count` bits.
fn lowest_bits(count: u32) -> u32 {
    return select((1u << (count & 31u)) - 1u, 0xffffffffu, count >= 32u);
}

/// Whether `visible` for the keys s to s + 31, s a multiple of 32: bit i is for key s + i. Those past the last are as
/// causal and window say.
fn visible_word(b: u32, h: u32, t: u32, s: u32) -> u32 {
    let flags = params.visibility.flags;
    let window = params.visibility.window;
    let position = t + params.visibility.q_offset;
    var word = 0xffffffffu;
    if ((flags & HAS_CAUSAL) != 0u) {
        word = select(0u, lowest_bits(min(position - s, 31u) + 1u), s <= position);
    }
    if (window != 0u) {
        // position − window < key < position + window
        let behind = select(0u, position - window + 1u, position >= window);
        word &= ~lowest_bits(max(behind, s) - s);
        if (s > position) {
            let ahead = s - position;
            word &= select(0u, lowest_bits(min(window - ahead, 32u)), ahead < window);
        } else if (window < 32u) {
            word &= lowest_bits(min(position - s, 32u) + window);
        }
    }
    if ((flags & HAS_ATTENTION_MASK) != 0u) {
        let row = b * params.visibility.mask_stride_b + h * params.visibility.mask_stride_h
            + t * params.visibility.mask_stride_t;
        if (params.visibility.mask_stride_s == 0u) {
            word &= select(0u, 0xffffffffu, (mask_bits[row] & 1u) == 1u);
        } else {
            word &= mask_bits[row + (s >> 5u)];
        }
    }
    if ((flags & HAS_QUERY_MASK) != 0u) {
        let start = params.visibility.query_mask_start + b * params.visibility.query_mask_stride_b;
        word &= select(0u, 0xffffffffu, mask_bit(start, t));
    }
    if ((flags & HAS_KEY_MASK) != 0u) {
        word &= mask_bits[params.visibility.key_mask_start + b * params.visibility.key_mask_stride_b + (s >> 5u)];
    }
    return word;
}
