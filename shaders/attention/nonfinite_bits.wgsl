// The bits of non-finite keys, which nonfinite_keys wrote into `mask_bits`.

#import attention/visible

fn nonfinite_start(b: u32, key_head: u32) -> u32 {
    return params.problem.visibility.nonfinite_start
        + (b * params.problem.key_heads + key_head) * params.problem.visibility.nonfinite_stride;
}

/// Whether key s of this batch element and head has a non-finite value. Only with GUARD_NONFINITE.
fn is_nonfinite(b: u32, key_head: u32, s: u32) -> bool {
    return mask_bit(nonfinite_start(b, key_head), s);
}

/// Whether any of the `words` · 32 keys from `first` on has a non-finite value. Only with GUARD_NONFINITE.
fn any_nonfinite(b: u32, key_head: u32, first: u32, words: u32) -> bool {
    var any = 0u;
    for (var w = 0u; w < words; w++) {
        any |= mask_bits[nonfinite_start(b, key_head) + (min(first + 32u * w, params.problem.key_len - 1u) >> 5u)];
    }
    return any != 0u;
}
