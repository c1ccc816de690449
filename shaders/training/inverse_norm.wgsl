// The factor that scales a vector to norm 1, as in Keras' normalize.

// ε², for Keras' ε = 1e-7.
const SMALLEST_SQUARE: f32 = 1e-14;

/// Whether a vector is so short that the factor is the constant 1 / ε.
fn is_short(square: f32) -> bool {
    return square < SMALLEST_SQUARE;
}

/// min(1 / √square, 1 / ε)
fn inverse_norm(square: f32) -> f32 {
    return select(inverseSqrt(max(square, SMALLEST_SQUARE)), 1e7, is_short(square));
}
