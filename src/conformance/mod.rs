//! Whether an adapter computes what it should, here and now: layers, attention, dropout and gradients against the
//! [reference](mod@crate::reference).
//!
//! [`checks`] is the set, small enough for a page to run while somebody waits. A [`LayerCase`] is one call of a layer with
//! made-up numbers, of which checks and tests are made.
//!
//! ```no_run
//! # async fn example(gpu: &gqa::Gpu) -> gqa::Result<()> {
//! for check in gqa::conformance::checks() {
//!     let outcome = check.run(gpu).await?;
//!     let verdict = if outcome.passed() { "passed" } else { "FAILED" };
//!     println!("{}: {} {verdict}, error {:.1e}", check.group, check.name, outcome.error);
//! }
//! # Ok(())
//! # }
//! ```

mod checks;
mod layer_case;

pub use checks::{Check, checks};
pub use layer_case::{Inputs, LayerCase, LayerData, bools, values};

/// How far a result is from the reference's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The largest [error](relative_error) of all that was compared; NaN if anything is NaN that should not be.
    pub error: f64,
    /// What is allowed.
    pub tolerance: f64,
}

impl Outcome {
    /// Whether the error is within the tolerance. A NaN is not.
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// max |got − expected| / max |expected|, or without the division where all that is expected is 0. NaN if any number
/// is NaN, or if there are more of one than of the other.
pub fn relative_error<T: Copy + Into<f64>>(got: &[T], expected: &[f64]) -> f64 {
    if got.len() != expected.len() {
        return f64::NAN;
    }
    let scale = expected.iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let errors = got.iter().zip(expected).map(|(&got, &expected)| (got.into() - expected).abs());
    let worst = errors.fold(0.0, larger);
    if scale > 0.0 { worst / scale } else { worst }
}

/// The larger of two errors; NaN if either is.
fn larger(worst: f64, error: f64) -> f64 {
    if worst.is_nan() || worst >= error { worst } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_anywhere_is_an_error() {
        let error = |got: &[f64]| relative_error(got, &[0.0, 2.0, -4.0]);
        assert_eq!(error(&[0.0, 2.0, -4.0]), 0.0);
        assert_eq!(error(&[0.0, 2.0, -3.0]), 0.25);
        assert_eq!(error(&[1.0, 2.0, -4.0]), 0.25);
        assert_eq!(relative_error(&[0.5], &[0.0]), 0.5);
        for nan in [&[f64::NAN, 2.0, -4.0][..], &[0.0, 2.0, f64::NAN], &[0.0, f64::NAN, 4.0], &[0.0, 2.0]] {
            assert!(error(nan).is_nan(), "{nan:?}");
            assert!(!Outcome { error: error(nan), tolerance: 1.0 }.passed());
        }
        assert_eq!(error(&[0.0, f64::INFINITY, -4.0]), f64::INFINITY);
    }
}
