// Which key a query sees: the one rule. Needs `params.visibility` and the bits that pack_mask wrote, `mask_bits`.

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
    padding: u32,
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
