// The dropout rule: a probability's coordinates decide whether it is kept. `gqa::Dropout` is the same rule on the host.

#import shared/philox

/// Whether each of the keys 4 · quad to 4 · quad + 3 is kept for (b, h, t).
fn kept_quad(b: u32, h: u32, t: u32, quad: u32) -> vec4<bool> {
    let counter = vec4<u32>(
        quad, t + params.problem.dropout.q_offset, h, b + params.problem.dropout.batch_offset);
    let key = vec2<u32>(params.problem.dropout.seed_low, params.problem.dropout.seed_high);
    return philox(counter, key) >= vec4<u32>(params.problem.dropout.threshold);
}

/// The factor of kept probabilities: 1 / (1 − probability), or 1 without dropout.
fn keep_scale() -> f32 {
    return params.problem.dropout.keep_scale;
}
