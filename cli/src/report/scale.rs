//! Axes: where a figure lies, and which figures are written along.

/// From figures to places between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// From zero.
    Linear { end: f64 },
    /// Equal factors are equal distances.
    Log { start: f64, end: f64 },
}

/// Past this ratio of the largest to the smallest, a scale from zero would leave the small ones invisible.
const LINEAR_RATIO: f64 = 30.0;

impl Scale {
    /// From zero to a round figure that is no less than `largest`.
    pub(crate) fn linear(largest: f64) -> Self {
        let step = round_up(largest / 5.0);
        Self::Linear { end: (largest / step - 1e-9).ceil() * step }
    }

    /// Between round figures that hold all from `smallest` to `largest`, both positive.
    pub(crate) fn log(smallest: f64, largest: f64) -> Self {
        // What lies at the start would have no length: a little below.
        let (start, end) = (round_down(smallest * 0.9), round_up(largest * (1.0 - 1e-9)));
        Self::Log { start, end }
    }

    /// Linear if that shows every one of `medians`, logarithmic otherwise, and wide enough for `smallest` and `largest`.
    pub(crate) fn fitting(medians: &[f64], smallest: f64, largest: f64) -> Self {
        let low = medians.iter().copied().fold(f64::INFINITY, f64::min);
        let high = medians.iter().copied().fold(0.0, f64::max);
        if high / low <= LINEAR_RATIO { Self::linear(largest) } else { Self::log(smallest, largest) }
    }

    pub(crate) fn is_log(&self) -> bool {
        matches!(self, Self::Log { .. })
    }

    /// The place of `x`: 0 at the start, 1 at the end.
    pub(crate) fn place(&self, x: f64) -> f64 {
        match self {
            Self::Linear { end } => x / end,
            Self::Log { start, end } => (x / start).ln() / (end / start).ln(),
        }
    }

    /// At most about `most` round figures along the axis, in order.
    pub(crate) fn ticks(&self, most: usize) -> Vec<f64> {
        match *self {
            Self::Linear { end } => {
                let step = round_up(end / most.max(1) as f64 * (1.0 - 1e-9));
                (0..=most).map(|i| i as f64 * step).filter(|x| *x <= end * (1.0 + 1e-9)).collect()
            }
            Self::Log { start, end } => {
                let inside = |x: &f64| (start * (1.0 - 1e-9)..=end * (1.0 + 1e-9)).contains(x);
                let (first, last) = (start.log10().floor() as i32, end.log10().ceil() as i32);
                let steps = |steps: &[f64], every: usize| -> Vec<f64> {
                    let powers = (first..=last).step_by(every);
                    let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
                    all.filter(inside).collect()
                };
                let fine = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0]].into_iter().map(|fine| steps(fine, 1));
                let coarse = (1..).map(|every| steps(&[1.0], every));
                fine.chain(coarse).find(|ticks| ticks.len() <= most.max(2)).unwrap_or_default()
            }
        }
    }
}

/// The least of 1, 2 and 5 times a power of ten that is no less than `x`.
fn round_up(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    let found = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= x * (1.0 - 1e-12));
    found.unwrap_or(10.0) * power
}

/// The largest of 1, 2 and 5 times a power of ten that is no more than `x`.
fn round_down(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    let found = [5.0, 2.0, 1.0].into_iter().find(|step| step * power <= x * (1.0 + 1e-12));
    found.unwrap_or(1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::format::tick;

    fn written(scale: Scale, most: usize) -> Vec<String> {
        scale.ticks(most).into_iter().map(tick).collect()
    }

    #[test]
    fn linear_scales_begin_at_zero_and_end_at_a_round_figure() {
        assert_eq!(Scale::linear(1.0), Scale::Linear { end: 1.0 });
        assert_eq!(Scale::linear(87.0), Scale::Linear { end: 100.0 });
        assert_eq!(written(Scale::linear(87.0), 5), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(written(Scale::linear(0.043), 5), ["0", "0.01", "0.02", "0.03", "0.04", "0.05"]);
        assert_eq!(written(Scale::linear(87.0), 2), ["0", "50", "100"]);
        assert_eq!(written(Scale::linear(2.3), 6), ["0", "0.5", "1", "1.5", "2", "2.5"]);
        assert_eq!(Scale::linear(80.0).place(20.0), 0.25);
    }

    #[test]
    fn logarithmic_scales_hold_every_figure_and_write_round_ones() {
        assert_eq!(Scale::log(0.3, 4.0), Scale::Log { start: 0.2, end: 5.0 });
        assert_eq!(written(Scale::log(0.3, 4.0), 6), ["0.2", "0.5", "1", "2", "5"]);
        assert_eq!(written(Scale::log(0.03, 400.0), 6), ["0.1", "1", "10", "100"]);
        assert_eq!(written(Scale::log(1e-6, 9e7), 6).len(), 5);
        for (low, high) in [(1.0, 1.0), (5.0, 5.0), (1e-30, 1e30), (0.999_999, 1.0)] {
            let scale = Scale::log(low, high);
            assert!(scale.place(low) > 0.0 && scale.place(high) <= 1.0 + 1e-6, "{scale:?}");
            assert!((1..=6).contains(&scale.ticks(6).len()), "{scale:?}");
        }
        assert!((Scale::Log { start: 0.1, end: 10.0 }.place(1.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_scale_is_logarithmic_only_when_small_figures_would_vanish() {
        assert!(!Scale::fitting(&[1.0, 25.0], 0.9, 26.0).is_log());
        assert!(Scale::fitting(&[1.0, 31.0], 0.9, 40.0).is_log());
    }
}
