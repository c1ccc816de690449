// The visibility rule, for one key and for 32 keys at once. Needs `params.problem.visibility`, and in `mask_bits` the bits
// that pack_mask wrote.

const HAS_CAUSAL: u32 = 1u;
const HAS_ATTENTION_MASK: u32 = 2u;
const HAS_QUERY_MASK: u32 = 4u;
const HAS_KEY_MASK: u32 = 8u;

fn mask_bit(start: u32, bit: u32) -> bool {
    return ((mask_bits[start + (bit >> 5u)] >> (bit & 31u)) & 1u) == 1u;
}

fn visible(b: u32, h: u32, t: u32, s: u32) -> bool {
    let flags = params.problem.visibility.flags;
    let position = t + params.problem.visibility.q_offset;
    var seen = true;
    if ((flags & HAS_CAUSAL) != 0u) {
        seen = s <= position;
    }
    if (params.problem.visibility.window != 0u) {
        seen = seen && (max(position, s) - min(position, s)) < params.problem.visibility.window;
    }
    if ((flags & HAS_ATTENTION_MASK) != 0u) {
        let row = b * params.problem.visibility.mask_stride_b + h * params.problem.visibility.mask_stride_h
            + t * params.problem.visibility.mask_stride_t;
        seen = seen && mask_bit(row, s * params.problem.visibility.mask_stride_s);
    }
    if ((flags & HAS_QUERY_MASK) != 0u) {
        seen = seen && mask_bit(params.problem.visibility.query_mask_start + b * params.problem.visibility.query_mask_stride_b, t);
    }
    if ((flags & HAS_KEY_MASK) != 0u) {
        seen = seen && mask_bit(params.problem.visibility.key_mask_start + b * params.problem.visibility.key_mask_stride_b, s);
    }
    return seen;
}

/// The lowest `count` bits.
fn lowest_bits(count: u32) -> u32 {
    return select((1u << (count & 31u)) - 1u, 0xffffffffu, count >= 32u);
}

/// `visible` for the keys s to s + 31, s a multiple of 32: bit i is for key s + i. Bits past the last key follow the causal
/// and window rules alone.
fn visible_word(b: u32, h: u32, t: u32, s: u32) -> u32 {
    let flags = params.problem.visibility.flags;
    let window = params.problem.visibility.window;
    let position = t + params.problem.visibility.q_offset;
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
        let row = b * params.problem.visibility.mask_stride_b + h * params.problem.visibility.mask_stride_h
            + t * params.problem.visibility.mask_stride_t;
        if (params.problem.visibility.mask_stride_s == 0u) {
            word &= select(0u, 0xffffffffu, (mask_bits[row] & 1u) == 1u);
        } else {
            word &= mask_bits[row + (s >> 5u)];
        }
    }
    if ((flags & HAS_QUERY_MASK) != 0u) {
        let start = params.problem.visibility.query_mask_start + b * params.problem.visibility.query_mask_stride_b;
        word &= select(0u, 0xffffffffu, mask_bit(start, t));
    }
    if ((flags & HAS_KEY_MASK) != 0u) {
        word &= mask_bits[params.problem.visibility.key_mask_start + b * params.problem.visibility.key_mask_stride_b + (s >> 5u)];
    }
    return word;
}
