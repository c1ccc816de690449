//! Keras' built-in initializers.

/// How a weight gets its first values. One variant for each of Keras' built-in initializers, with its arguments.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Initializer {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// All `value`.
    Constant {
        /// The value of every element.
        value: f64,
    },
    /// `gain` times the identity matrix; for matrices only.
    Identity {
        /// The value on the diagonal.
        gain: f64,
    },
    /// Normal.
    RandomNormal {
        /// Mean of the distribution.
        mean: f64,
        /// Its standard deviation.
        stddev: f64,
        /// Fixes the values.
        seed: Option<u64>,
    },
    /// Glorot (Xavier) uniform: variance scaling, scale 1, `fan_avg`, uniform.
    GlorotUniform {
        /// Fixes the values.
        seed: Option<u64>,
    },
}
