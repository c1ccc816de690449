// Common to the optimizers: the gradient, clipped by the global norm with CLIP, and the variable after weight decay.

const EXPONENT: u32 = 0x7f800000u;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> squared_norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> variable: array<f32>;

/// clip / max(norm, clip) for norm = √squared_norm, and NaN where squared_norm is non-finite, as in Keras.
fn clip_scale(squared_norm: f32, clip: f32) -> f32 {
    // By bits: drivers disagree about NaN and infinity.
    let bits = bitcast<u32>(squared_norm);
    if ((bits & EXPONENT) == EXPONENT) {
        return bitcast<f32>(bits | 0x7fc00000u);
    }
    let norm = sqrt(squared_norm);
    return clip / max(norm, clip);
}

/// The gradient of element i.
fn clipped_gradient(i: u32) -> f32 {
    if (CLIP) {
        return gradient[i] * clip_scale(squared_norm[0], params.clip);
    }
    return gradient[i];
}

/// Element i after weight decay.
fn decayed_variable(i: u32) -> f32 {
    let value = variable[i];
    if (params.weight_decay != 0.0) {
        return value - value * params.weight_decay * params.learning_rate;
    }
    return value;
}
