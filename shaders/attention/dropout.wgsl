// The dropout rule: which probabilities a call keeps, by their coordinates. `gqa::Dropout` is the host's half.

#import shared/philox

/// Which of the keys 4 · quad to 4 · quad + 3 are kept for (b, h, t).
fn kept_quad(b: u32, h: u32, t: u32, quad: u32) -> vec4<bool> {
    let counter = vec4<u32>(
        quad, t + params.problem.dropout.q_offset, h, b + params.problem.dropout.batch_offset);
    let key = vec2<u32>(params.problem.dropout.seed_low, params.problem.dropout.seed_high);
    return philox(counter, key) >= vec4<u32>(params.problem.dropout.threshold);
}

/// What kept probabilities are multiplied by; 1 where nothing is dropped.
fn keep_scale() -> f32 {
    return params.problem.dropout.keep_scale;
}
