// Visibility of a block: a row's visible keys as bits, whether a whole block is visible, and the range of keys to visit.

#import shared/numbers
#import attention/visible

/// The bits in `word` of group `quad` of four keys.
fn seen_quad(word: u32, quad: u32) -> vec4<bool> {
    return (vec4<u32>(word >> ((quad & 7u) * 4u)) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>();
}

/// Bits of the keys s to s + 31 before `end` that query (b, h, t) sees.
fn seen_word(b: u32, h: u32, t: u32, s: u32, end: u32) -> u32 {
    if (s >= end) {
        return 0u;
    }
    return visible_word(b, h, t, s) & lowest_bits(end - s);
}

fn is_masked() -> bool {
    return (params.problem.visibility.flags & (HAS_ATTENTION_MASK | HAS_QUERY_MASK | HAS_KEY_MASK)) != 0u;
}

/// Whether the causal and window rules let every query at these positions see all `keys` keys from `first_key` on.
fn sees_all(first_position: u32, last_position: u32, first_key: u32, keys: u32) -> bool {
    let window = params.problem.visibility.window;
    let ahead = max(first_key + keys, first_position + 1u) - (first_position + 1u);
    let behind = max(last_position, first_key) - first_key;
    return ((params.problem.visibility.flags & HAS_CAUSAL) == 0u || ahead == 0u)
        && (window == 0u || max(ahead, behind) < window);
}

/// The range of keys within `begin..end` that queries at these positions may see, begun at a multiple of `block`.
fn keys_seen(first_position: u32, last_position: u32, begin: u32, end: u32, block: u32) -> vec2<u32> {
    let window = params.problem.visibility.window;
    var range = vec2<u32>(begin, end);
    if ((params.problem.visibility.flags & HAS_CAUSAL) != 0u) {
        range.y = min(range.y, last_position + 1u);
    }
    if (window != 0u) {
        if (first_position >= window) {
            range.x = max(range.x, ((first_position - window + 1u) / block) * block);
        }
        if (window < 0x80000000u && last_position < 0x80000000u) {
            range.y = min(range.y, last_position + window);
        }
    }
    return range;
}
