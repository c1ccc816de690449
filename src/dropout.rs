//! Dropout as a pure function of coordinates: the host's half of `shaders/shared/philox.wgsl` and
//! `shaders/attention/dropout.wgsl`.

use crate::{Error, Result};

/// The pattern of attention probabilities that one training call drops.
///
/// The element (b, h, t, s) is dropped when word `s % 4` of Philox4x32-10 with the counter
/// `(s / 4, t + q_offset, h, b + batch_offset)` and the key `seed` is below `probability` · 2³². The pattern depends
/// on coordinates alone: not on the adapter, the path, or how a batch is split. The default drops nothing.
///
/// ```
/// let whole = gqa::Dropout { probability: 0.25, seed: 7, ..Default::default() };
/// // The second half of a batch of 8, in a call of its own, drops what it would drop in the whole.
/// let half = gqa::Dropout { batch_offset: 4, ..whole };
/// assert_eq!(half.keeps(0, 1, 2, 3), whole.keeps(4, 1, 2, 3));
///
/// let kept = (0..1000).filter(|&s| whole.keeps(0, 0, 0, s)).count();
/// assert!((700..800).contains(&kept));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dropout {
    /// The probability of dropping, in [0, 1).
    pub probability: f64,
    /// The key.
    pub seed: u64,
    /// Position of this call's first query in its sequence.
    pub q_offset: u32,
    /// Position of this call's first batch element in its batch.
    pub batch_offset: u32,
}

impl Dropout {
    /// The factor of kept probabilities: 1 / (1 − probability).
    pub fn keep_scale(&self) -> f64 {
        1.0 / (1.0 - self.probability)
    }

    /// Fails unless the probability is in [0, 1).
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        if !(0.0..1.0).contains(&self.probability) {
            return Err(Error::argument(operation, "dropout", "in [0, 1)", self.probability.to_string()));
        }
        Ok(())
    }

    /// Random words below this are dropped.
    pub fn threshold(&self) -> u32 {
        (self.probability * 4_294_967_296.0).round().min(f64::from(u32::MAX)) as u32
    }

    /// Whether the element (b, h, t, s) is kept.
    pub fn keeps(&self, b: u32, h: u32, t: u32, s: u32) -> bool {
        let counter = [s / 4, t.wrapping_add(self.q_offset), h, b.wrapping_add(self.batch_offset)];
        let random = philox4x32_10(counter, [self.seed as u32, (self.seed >> 32) as u32]);
        random[s as usize % 4] >= self.threshold()
    }
}

/// The seed of call number `call` of a layer with seed `base`. Philox serves as a mixing function, so adjacent seeds and
/// calls give unrelated patterns.
pub(crate) fn call_seed(base: u64, call: u64) -> u64 {
    let counter = [call as u32, (call >> 32) as u32, 0, 0];
    let [low, high, ..] = philox4x32_10(counter, [base as u32, (base >> 32) as u32]);
    u64::from(low) | u64::from(high) << 32
}

/// Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011).
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let wide = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    let (mut x, mut key) = (counter, key);
    for _ in 0..10 {
        let (high0, low0) = wide(0xd251_1f53, x[0]);
        let (high1, low1) = wide(0xcd9e_8d57, x[2]);
        x = [high1 ^ x[1] ^ key[0], low1, high0 ^ x[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_random123s_known_answers() {
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn the_drop_rate_is_within_four_sigma() {
        for probability in [0.0, 0.1, 0.5, 0.9, 0.999_9] {
            let dropout = Dropout { probability, seed: 0x0123_4567_89ab_cdef, q_offset: 0, batch_offset: 0 };
            let (mut count, mut dropped) = (0.0, 0.0);
            for b in 0..2 {
                for h in 0..5 {
                    for t in 0..50 {
                        for s in 0..501 {
                            count += 1.0;
                            dropped += f64::from(u8::from(!dropout.keeps(b, h, t, s)));
                        }
                    }
                }
            }
            let sigma = f64::sqrt(count * probability * (1.0 - probability));
            assert!(
                (dropped - count * probability).abs() <= 4.0 * sigma,
                "{dropped} of {count} at {probability}"
            );
        }
    }

    #[test]
    fn a_probability_next_to_one_still_keeps_by_the_rule() {
        let dropout =
            Dropout { probability: 1.0 - f64::EPSILON / 2.0, seed: 1, q_offset: 0, batch_offset: 0 };
        assert_eq!(dropout.threshold(), u32::MAX);
        assert!(dropout.keep_scale().is_finite());
    }
}
