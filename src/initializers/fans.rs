//! How many inputs and outputs a weight connects.

use super::{FanMode, OPERATION};
use crate::{Error, Result};

/// The fan in and fan out of a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fans {
    pub(super) input: f64,
    pub(super) output: f64,
}

impl Fans {
    /// What Keras' `compute_fans` gives.
    ///
    /// Where both lists of axes are given, the products of those axes. Otherwise the last two axes of the weight, times
    /// all axes before them: Keras takes any weight of rank 3 and more for a convolution kernel, so that the fans of a
    /// query kernel `[C, H, D]` are C·H and C·D.
    pub(super) fn new(
        shape: &[usize],
        input_axes: Option<&[i64]>,
        output_axes: Option<&[i64]>,
    ) -> Result<Self> {
        if let (Some(input), Some(output)) = (input_axes, output_axes) {
            return Ok(Self {
                input: product_of_axes(shape, "input_axes", input)?,
                output: product_of_axes(shape, "output_axes", output)?,
            });
        }
        Ok(match *shape {
            [] => Self { input: 1.0, output: 1.0 },
            [n] => Self { input: n as f64, output: n as f64 },
            [ref receptive_field @ .., input, output] => {
                let size = product(receptive_field);
                Self { input: size * input as f64, output: size * output as f64 }
            }
        })
    }

    /// The fan that `mode` names, at least 1.
    pub(super) fn of(self, mode: FanMode) -> f64 {
        let fan = match mode {
            FanMode::FanIn => self.input,
            FanMode::FanOut => self.output,
            FanMode::FanAvg => (self.input + self.output) / 2.0,
        };
        fan.max(1.0)
    }
}

fn product(lengths: &[usize]) -> f64 {
    lengths.iter().map(|&n| n as f64).product()
}

/// The product of the lengths of `axes`. A negative axis counts from the end.
fn product_of_axes(shape: &[usize], argument: &str, axes: &[i64]) -> Result<f64> {
    let length = |&axis: &i64| {
        let rank = shape.len() as i64;
        let index = usize::try_from(if axis < 0 { axis.saturating_add(rank) } else { axis });
        index.ok().and_then(|index| shape.get(index)).map(|&n| n as f64).ok_or_else(|| {
            Error::argument(
                OPERATION,
                argument,
                format!("axes of a weight of rank {rank}"),
                format!("{axes:?}"),
            )
        })
    };
    axes.iter().map(length).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shape, input axes, output axes, and what `compute_fans` of Keras 3.15.1 returned for them.
    type Case = (&'static [usize], Option<&'static [i64]>, Option<&'static [i64]>, (f64, f64));

    const CASES: [Case; 12] = [
        (&[], None, None, (1.0, 1.0)),
        (&[7], None, None, (7.0, 7.0)),
        (&[3, 5], None, None, (3.0, 5.0)),
        (&[6, 4, 8], None, None, (24.0, 48.0)),
        (&[4, 8, 6], None, None, (32.0, 24.0)),
        (&[2, 3, 5, 7], None, None, (30.0, 42.0)),
        (&[6, 4, 8], Some(&[0]), Some(&[1, 2]), (6.0, 32.0)),
        (&[4, 8, 6], Some(&[0, 1]), Some(&[-1]), (32.0, 6.0)),
        (&[6, 4, 8], Some(&[0]), None, (24.0, 48.0)),
        (&[6, 4, 8], None, Some(&[1]), (24.0, 48.0)),
        (&[6, 4, 8], Some(&[]), Some(&[-2]), (1.0, 4.0)),
        (&[6, 0, 8], None, None, (0.0, 48.0)),
    ];

    #[test]
    fn fans_are_those_of_keras() -> Result<()> {
        for (shape, input_axes, output_axes, (input, output)) in CASES {
            assert_eq!(Fans::new(shape, input_axes, output_axes)?, Fans { input, output }, "{shape:?}");
        }
        Ok(())
    }

    #[test]
    fn a_mode_picks_a_fan_of_at_least_one() {
        let fans = Fans { input: 6.0, output: 32.0 };
        assert_eq!(FanMode::from_name("fan_in").map(|mode| fans.of(mode)), Some(6.0));
        assert_eq!(FanMode::from_name("fan_out").map(|mode| fans.of(mode)), Some(32.0));
        assert_eq!(FanMode::from_name("fan_avg").map(|mode| fans.of(mode)), Some(19.0));
        assert_eq!(Fans { input: 0.0, output: 0.5 }.of(FanMode::FanAvg), 1.0);
    }

    #[test]
    fn axes_past_the_rank_are_refused() {
        for axis in [3, -4, i64::MIN, i64::MAX] {
            let fans = Fans::new(&[6, 4, 8], Some(&[axis]), Some(&[1]));
            assert!(
                matches!(fans, Err(Error::Argument { ref argument, .. }) if argument == "input_axes"),
                "{axis}"
            );
        }
    }
}
