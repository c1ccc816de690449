//! How much work a case is: operations, bytes, and the time that a roofline allows for them.

use super::case::{Case, Extra, Sizes, Span};
use super::{Roofline, RowKind};
use crate::DType;

impl Case {
    /// Floating-point operations that the work needs: products that causality or the window hide do not count.
    pub fn flops(&self) -> f64 {
        let Sizes { batch, query_len, key_len, query_heads, key_heads, head_dim, features } = self.sizes;
        let rows = batch * query_len;
        // 2 for each multiply-add.
        let projection = |m: usize, k: usize, n: usize| 2.0 * m as f64 * k as f64 * n as f64;
        let attention = || {
            let pairs = visible_pairs(query_len, key_len, self.span);
            // q·k and probabilities · v
            4.0 * head_dim as f64 * (batch * query_heads) as f64 * pairs as f64
        };
        match self.kind {
            RowKind::Linear => projection(rows, features, query_heads * head_dim),
            RowKind::Attention => attention(),
            RowKind::Layer => {
                let query = projection(rows, features, query_heads * head_dim);
                let key = projection(batch * key_len, features, key_heads * head_dim);
                // Query and output, key and value are of the same size.
                2.0 * query + 2.0 * key + attention()
            }
        }
    }

    /// Bytes that must move at the least: every input read once, every output written once.
    pub fn bytes(&self) -> f64 {
        let Sizes { batch, query_len, key_len, query_heads, key_heads, head_dim, features } = self.sizes;
        let rows = batch * query_len;
        let (q_width, k_width) = (query_heads * head_dim, key_heads * head_dim);
        let elements = match self.kind {
            RowKind::Linear => {
                // The kernel writes f32, whatever it reads.
                let y = rows * q_width * DType::F32.size() / self.dtype.size();
                rows * features + features * q_width + q_width + y
            }
            RowKind::Attention => 2 * rows * q_width + 2 * batch * key_len * k_width,
            RowKind::Layer => {
                let weights = 2 * features * (q_width + k_width) + (q_width + 2 * k_width + features);
                // One sequence is query, key and value.
                2 * rows * features + weights
            }
        };
        let lse = match self.kind {
            RowKind::Attention => 4 * rows * query_heads,
            _ => 0,
        };
        let mask = match self.extra {
            Extra::AttentionMask => query_len * key_len,
            Extra::KeyMask => batch * key_len,
            Extra::Nothing | Extra::Dropout => 0,
        };
        (elements * self.dtype.size() + lse + mask) as f64
    }
}

/// How many keys all queries of a head see together.
fn visible_pairs(query_len: usize, key_len: usize, span: Span) -> u64 {
    let seen = |t: usize| {
        let window = span.window.unwrap_or(usize::MAX);
        let first = (t + 1).saturating_sub(window);
        let end = if span.causal { t + 1 } else { t.saturating_add(window) }.min(key_len);
        end.saturating_sub(first) as u64
    };
    (0..query_len).map(seen).sum()
}

/// The least milliseconds that the roofline allows for so much work.
pub(super) fn least_ms(flops: f64, bytes: f64, roofline: &Roofline) -> f64 {
    f64::max(flops / roofline.f32_gflops, bytes / roofline.copy_gbytes) * 1e-6
}

/// Expects how long a case will take, by what was seen so far.
pub(super) struct Estimator {
    roofline: Roofline,
    /// By kind.
    seen: [Seen; 3],
}

#[derive(Default, Clone, Copy)]
struct Seen {
    /// The longest time of a run in milliseconds, and the share of the roofline that it reached.
    longest: Option<(f64, f64)>,
    /// Seconds that uploads and compilation took, and of how many cases.
    preparation: (f64, f64),
}

/// Before anything is known.
const FIRST_SHARE: f64 = 0.1;

impl Estimator {
    pub(super) fn new(roofline: Roofline) -> Self {
        Self { roofline, seen: [Seen::default(); 3] }
    }

    /// A run of a case took so many milliseconds, after so many seconds of preparation.
    pub(super) fn learn(&mut self, case: &Case, ms: f64, preparation: f64) {
        let share = self.least(case) / ms;
        let seen = &mut self.seen[case.kind as usize];
        if share > 0.0 && share.is_finite() && seen.longest.is_none_or(|(longest, _)| ms >= longest) {
            seen.longest = Some((ms, share));
        }
        seen.preparation = (seen.preparation.0 + preparation.max(0.0), seen.preparation.1 + 1.0);
    }

    /// Milliseconds that a run should take: by the share of the longest run of its kind, or else of another kind.
    pub(super) fn run_ms(&self, case: &Case) -> f64 {
        let others = self.seen.iter().filter_map(|seen| seen.longest);
        let others = others.map(|(_, share)| share).min_by(f64::total_cmp);
        let own = self.seen[case.kind as usize].longest.map(|(_, share)| share);
        self.least(case) / own.or(others).unwrap_or(FIRST_SHARE)
    }

    /// Seconds that it should take to prepare it: the mean of its kind.
    pub(super) fn preparation(&self, case: &Case) -> f64 {
        let (seconds, cases) = self.seen[case.kind as usize].preparation;
        seconds / cases.max(1.0)
    }

    fn least(&self, case: &Case) -> f64 {
        least_ms(case.flops(), case.bytes(), &self.roofline)
    }
}

/// Whether work of `cost` seconds can be done along with everything among the `others` that is shorter, in `left` seconds:
/// where not all can be done, the longest is left out.
pub(super) fn is_affordable(cost: f64, others: impl Iterator<Item = f64>, left: f64) -> bool {
    cost + others.filter(|&other| other < cost).sum::<f64>() <= left
}

#[cfg(test)]
mod tests {
    use super::super::suite::Suite;
    use super::*;
    use crate::reference::Visibility;

    #[test]
    fn visible_pairs_are_those_of_the_one_rule() {
        for (t, s) in [(1, 1), (1, 9), (7, 7), (12, 5), (5, 12), (40, 40)] {
            for causal in [false, true] {
                for window in [None, Some(1), Some(3), Some(8), Some(100)] {
                    let rule = Visibility { causal, window, ..Visibility::default() };
                    let pairs = (0..t).flat_map(|t| (0..s).map(move |s| (t, s)));
                    let expected = pairs.filter(|&(t, s)| rule.visible(0, 0, t, s)).count() as u64;
                    let what = format!("{t}×{s} causal {causal} window {window:?}");
                    assert_eq!(visible_pairs(t, s, Span { causal, window }), expected, "{what}");
                }
            }
        }
    }

    fn case(id: &str) -> Case {
        Suite::full().cases.into_iter().find(|case| case.id == id).unwrap()
    }

    #[test]
    fn operations_and_bytes_are_those_counted_by_hand() {
        let n = 1024.0;
        let full = case("attention/prefill/A1/f32");
        assert_eq!(full.flops(), 4.0 * 64.0 * 8.0 * n * n);
        assert_eq!(full.bytes(), 4.0 * (2.0 * n * 512.0 + 2.0 * n * 128.0 + n * 8.0));
        let causal = case("attention/causal/A1/f16");
        assert_eq!(causal.flops(), 4.0 * 64.0 * 8.0 * n * (n + 1.0) / 2.0);
        assert_eq!(causal.bytes(), 2.0 * (2.0 * n * 512.0 + 2.0 * n * 128.0) + 4.0 * n * 8.0);
        let mask = case("attention/mask/A1-attention-mask/f32");
        assert_eq!((mask.flops(), mask.bytes()), (full.flops(), full.bytes() + n * n));
        let decode = case("attention/decode/A3/f32");
        assert_eq!(decode.flops(), 4.0 * 128.0 * 32.0 * 4096.0);
        assert_eq!(decode.bytes(), 4.0 * (2.0 * 32.0 * 128.0 + 2.0 * 4096.0 * 8.0 * 128.0 + 32.0));

        let projection = case("linear/L2-key/f32");
        assert_eq!(projection.flops(), 2.0 * 512.0 * 256.0 * 64.0);
        assert_eq!(projection.bytes(), 4.0 * (512.0 * 256.0 + 256.0 * 64.0 + 64.0 + 512.0 * 64.0));
        let half = case("linear/L2-key/bf16");
        assert_eq!(half.bytes(), 2.0 * (512.0 * 256.0 + 256.0 * 64.0 + 64.0) + 4.0 * 512.0 * 64.0);

        // Query and output 256 × 256, key and value 256 × 64, over 4 · 128 rows; 8 heads of 32.
        let layer = case("layer/L2/f32");
        let linear = 2.0 * 512.0 * 256.0 * (256.0 + 256.0 + 64.0 + 64.0);
        assert_eq!(layer.flops(), linear + 4.0 * 32.0 * 32.0 * (128.0 * 129.0 / 2.0));
        let weights = 2.0 * 256.0 * 256.0 + 2.0 * 256.0 * 64.0 + 256.0 + 64.0 + 64.0 + 256.0;
        assert_eq!(layer.bytes(), 4.0 * (2.0 * 512.0 * 256.0 + weights));
    }

    #[test]
    fn the_roofline_is_the_slower_of_operations_and_bytes() {
        let roofline = Roofline { f32_gflops: 100.0, copy_gbytes: 10.0 };
        assert_eq!(least_ms(1e9, 1e6, &roofline), 10.0);
        assert_eq!(least_ms(1e6, 1e9, &roofline), 100.0);
    }

    #[test]
    fn expectations_follow_the_longest_run_of_a_kind() {
        let mut estimator = Estimator::new(Roofline { f32_gflops: 100.0, copy_gbytes: 1000.0 });
        let (small, large) = (case("attention/prefill/A1/f32"), case("attention/prefill/A2/f32"));
        let layer = case("layer/L1/f32");
        let least = |case: &Case| case.flops() / 1e8;
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b;
        assert!(close(estimator.run_ms(&small), least(&small) / FIRST_SHARE));
        estimator.learn(&small, least(&small) / 0.2, 3.0);
        assert!(close(estimator.run_ms(&large), least(&large) / 0.2));
        estimator.learn(&large, least(&large) / 0.5, 1.0);
        estimator.learn(&small, least(&small) / 0.2, 2.0);
        assert!(close(estimator.run_ms(&small), least(&small) / 0.5));
        assert!(close(estimator.preparation(&large), 2.0));
        // Of another kind, this is all that is known.
        assert!(close(estimator.run_ms(&layer), least(&layer) / 0.5));
        assert_eq!(estimator.preparation(&layer), 0.0);
        for nonsense in [f64::NAN, 0.0, -1.0] {
            estimator.learn(&layer, nonsense, 0.0);
            assert!(close(estimator.run_ms(&layer), least(&layer) / 0.5));
        }
    }

    #[test]
    fn where_time_is_short_the_longest_are_left_out() {
        let costs = [5.0, 1.0, 3.0, 2.0];
        let fitting = |left: f64| -> Vec<f64> {
            let others = |i: usize| (0..4).filter(move |&j| j != i).map(|j| costs[j]);
            (0..4).filter(|&i| is_affordable(costs[i], others(i), left)).map(|i| costs[i]).collect()
        };
        assert_eq!(fitting(11.0), costs);
        assert_eq!(fitting(10.9), [1.0, 3.0, 2.0]);
        assert_eq!(fitting(5.9), [1.0, 2.0]);
        assert!(fitting(0.9).is_empty());
    }
}
