//! Keras' built-in regularizers and constraints: parsed, kept and written back here. [`crate::training`] applies them.

use serde_json::Value;

/// A penalty added to the training loss.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Regularizer {
    /// `l1 · Σ|x|`
    L1 {
        /// Factor of the sum of magnitudes.
        l1: f64,
    },
    /// `l2 · Σx²`
    L2 {
        /// Factor of the sum of squares.
        l2: f64,
    },
    /// `l1 · Σ|x| + l2 · Σx²`
    L1L2 {
        /// Factor of the sum of magnitudes.
        l1: f64,
        /// Factor of the sum of squares.
        l2: f64,
    },
    /// Encourages the rows (or columns) of a matrix to be orthogonal to each other: `factor` · the mean of |cos| over pairs of
    /// them.
    ///
    /// Keras has it for matrices alone. Here a kernel is the matrix that it is, `[C, H·D]` or `[H·D, C]`, and a bias `[H, D]`
    /// too; biases `[C]` and activities of another rank than 2 are refused. The penalty of a single row is 0 (in Keras NaN).
    Orthogonal {
        /// Factor of the penalty.
        factor: f64,
        /// Which vectors should be orthogonal.
        mode: OrthogonalMode,
    },
    /// One that is not Keras' own, kept as the JSON it came in. It doesn't matter for inference; training refuses it.
    Other {
        /// The name of its class.
        class_name: String,
        /// All of it.
        json: Value,
    },
}

/// Which vectors an orthogonal regularizer compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrthogonalMode {
    /// Rows of the matrix.
    Rows,
    /// Columns of the matrix.
    Columns,
}

/// What a weight is projected onto after each update.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Constraint {
    /// Norms at most `max_value`.
    MaxNorm {
        /// The largest norm allowed.
        max_value: f64,
        /// The axes that a norm runs over.
        axis: Vec<i64>,
    },
    /// Norms between `min_value` and `max_value`.
    MinMaxNorm {
        /// The smallest norm allowed.
        min_value: f64,
        /// The largest norm allowed.
        max_value: f64,
        /// How far towards the bounds one update goes, in (0, 1].
        rate: f64,
        /// The axes that a norm runs over.
        axis: Vec<i64>,
    },
    /// No negative values.
    NonNeg,
    /// Norms of exactly 1.
    UnitNorm {
        /// The axes that a norm runs over.
        axis: Vec<i64>,
    },
    /// One that is not Keras' own, kept as the JSON it came in. It doesn't matter for inference; training refuses it.
    Other {
        /// The name of its class.
        class_name: String,
        /// All of it.
        json: Value,
    },
}
