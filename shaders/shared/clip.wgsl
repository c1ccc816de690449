// What clipping by the global norm multiplies gradients by.

const EXPONENT: u32 = 0x7f800000u;

/// clip / max(norm, clip) for norm = √squared_norm, and NaN where that is NaN or infinite, as in Keras.
fn clip_scale(squared_norm: f32, clip: f32) -> f32 {
    // By bits: drivers disagree about NaN and infinity.
    let bits = bitcast<u32>(squared_norm);
    if ((bits & EXPONENT) == EXPONENT) {
        return bitcast<f32>(bits | 0x7fc00000u);
    }
    let norm = sqrt(squared_norm);
    return clip / max(norm, clip);
}
