//! Random numbers that are the same everywhere.
//!
//! The bits are those of ChaCha with 12 rounds. Uniform numbers are made from them by exact operations; normal ones use
//! the logarithm and cosine of the platform, which may differ by an ulp of f64 and so, once in about 10⁸ numbers, by an
//! ulp of f32.

use std::f64::consts::TAU;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A sequence of random numbers that `seed` and `stream` fix. Different streams are independent.
pub(super) struct Random {
    bits: ChaCha12Rng,
    /// The second of a pair of normal numbers.
    spare: Option<f64>,
}

impl Random {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut bits = ChaCha12Rng::seed_from_u64(seed);
        bits.set_stream(stream);
        Self { bits, spare: None }
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.bits.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0 and standard deviation 1, by the method of Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // 1 − uniform is in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// Normal as above, redrawn until it is in [−2, 2].
    pub(super) fn truncated_normal(&mut self) -> f64 {
        loop {
            let x = self.normal();
            if x.abs() <= 2.0 {
                return x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_stream_fix_the_sequence() {
        let first = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [(); 3].map(|()| random.uniform())
        };
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
        // Known numbers: a change of them would change every initialized model.
        assert_eq!(first(0, 0), [0.7311134158637046, 0.7734601843532382, 0.025844634233355035]);
    }
}
