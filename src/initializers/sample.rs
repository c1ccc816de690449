//! The values that an initializer gives to a weight.

use super::FanMode::{FanAvg, FanIn};
use super::VarianceDistribution::{TruncatedNormal, Uniform, UntruncatedNormal};
use super::fans::Fans;
use super::orthogonal::orthogonal;
use super::random::Random;
use super::stft::stft;
use super::{Initializer, OPERATION, VarianceDistribution};
use crate::array::element_count;
use crate::{Array, Error, Result};

/// The standard deviation of a normal distribution of standard deviation 1 that is cut off at ±2, as Keras has it.
const TRUNCATED_STDDEV: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// The values of a weight of this shape.
    ///
    /// The same initializer, shape and seed give the same values on every machine (to the last bit of f32, but for one
    /// in about 10⁸ normally distributed values, where the platform's logarithm and cosine show). Where the initializer
    /// has its own seed, `seed` isn't used. The distributions are Keras'; the values are not, and Keras' own differ
    /// between its backends.
    ///
    /// Fails where the initializer can't fill that shape, as in Keras, and for [`Initializer::Other`].
    pub fn sample(&self, shape: &[usize], seed: u64) -> Result<Array<f32>> {
        self.sample_stream(shape, seed, 0)
    }

    /// As [`sample`](Self::sample). Without a seed of its own, the values of each stream are independent of the others.
    pub(super) fn sample_stream(&self, shape: &[usize], seed: u64, stream: u64) -> Result<Array<f32>> {
        let too_large =
            || Error::argument(OPERATION, "shape", "one that memory can hold", format!("{shape:?}"));
        let count = element_count(shape).ok_or_else(too_large)?;
        // Asked for here because a failure to allocate would end the process.
        Vec::<f64>::new().try_reserve_exact(count).map_err(|_| too_large())?;
        let mut random = match self.own_seed() {
            Some(own) => Random::new(own, 0),
            None => Random::new(seed, stream),
        };
        let scaled = |scale, mode, form, input_axes: &Option<Vec<i64>>, output_axes: &Option<Vec<i64>>| {
            let fans = Fans::new(shape, input_axes.as_deref(), output_axes.as_deref())?;
            Distribution::scaled(scale, fans.of(mode), form)
        };
        let values = match self {
            Self::Zeros => vec![0.0; count],
            Self::Ones => vec![1.0; count],
            Self::Constant { value } => vec![*value; count],
            Self::Identity { gain } => identity(shape, *gain)?,
            Self::RandomNormal { mean, stddev, .. } => {
                Distribution::Normal { mean: *mean, stddev: *stddev }.fill(count, &mut random)
            }
            Self::TruncatedNormal { mean, stddev, .. } => {
                Distribution::TruncatedNormal { mean: *mean, stddev: *stddev }.fill(count, &mut random)
            }
            Self::RandomUniform { minval, maxval, .. } => {
                Distribution::Uniform { min: *minval, max: *maxval }.fill(count, &mut random)
            }
            Self::VarianceScaling { scale, mode, distribution, input_axes, output_axes, .. } => {
                scaled(*scale, *mode, *distribution, input_axes, output_axes)?.fill(count, &mut random)
            }
            Self::GlorotUniform { input_axes, output_axes, .. } => {
                scaled(1.0, FanAvg, Uniform, input_axes, output_axes)?.fill(count, &mut random)
            }
            Self::GlorotNormal { input_axes, output_axes, .. } => {
                scaled(1.0, FanAvg, TruncatedNormal, input_axes, output_axes)?.fill(count, &mut random)
            }
            Self::LecunNormal { input_axes, output_axes, .. } => {
                scaled(1.0, FanIn, TruncatedNormal, input_axes, output_axes)?.fill(count, &mut random)
            }
            Self::LecunUniform { input_axes, output_axes, .. } => {
                scaled(1.0, FanIn, Uniform, input_axes, output_axes)?.fill(count, &mut random)
            }
            Self::HeNormal { input_axes, output_axes, .. } => {
                scaled(2.0, FanIn, TruncatedNormal, input_axes, output_axes)?.fill(count, &mut random)
            }
            Self::HeUniform { input_axes, output_axes, .. } => {
                scaled(2.0, FanIn, Uniform, input_axes, output_axes)?.fill(count, &mut random)
            }
            Self::Orthogonal { gain, .. } => {
                orthogonal(shape, &mut random)?.into_iter().map(|q| gain * q).collect()
            }
            Self::Stft { side, window, scaling, periodic } => {
                stft(shape, *side, window.as_ref(), *scaling, *periodic)?
            }
            Self::Other { class_name, .. } => {
                return Err(Error::argument(
                    OPERATION,
                    "initializer",
                    "one of Keras' built-in initializers",
                    format!("`{class_name}`, of which only the name and arguments are known"),
                ));
            }
        };
        Array::new(shape, values.into_iter().map(|x| x as f32).collect::<Vec<_>>())
    }

    fn own_seed(&self) -> Option<u64> {
        match self {
            Self::RandomNormal { seed, .. }
            | Self::TruncatedNormal { seed, .. }
            | Self::RandomUniform { seed, .. }
            | Self::VarianceScaling { seed, .. }
            | Self::GlorotUniform { seed, .. }
            | Self::GlorotNormal { seed, .. }
            | Self::LecunNormal { seed, .. }
            | Self::LecunUniform { seed, .. }
            | Self::HeNormal { seed, .. }
            | Self::HeUniform { seed, .. }
            | Self::Orthogonal { seed, .. } => *seed,
            Self::Zeros
            | Self::Ones
            | Self::Constant { .. }
            | Self::Identity { .. }
            | Self::Stft { .. }
            | Self::Other { .. } => None,
        }
    }
}

fn identity(shape: &[usize], gain: f64) -> Result<Vec<f64>> {
    let &[rows, cols] = shape else {
        return Err(Error::argument(OPERATION, "shape", "of two axes for Identity", format!("{shape:?}")));
    };
    Ok((0..rows * cols).map(|i| if i / cols == i % cols { gain } else { 0.0 }).collect())
}

/// What each element of a weight is drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Distribution {
    Uniform {
        min: f64,
        max: f64,
    },
    Normal {
        mean: f64,
        stddev: f64,
    },
    /// Within two `stddev` of the mean.
    TruncatedNormal {
        mean: f64,
        stddev: f64,
    },
}

impl Distribution {
    /// That of mean 0 and variance `scale / fan`.
    fn scaled(scale: f64, fan: f64, form: VarianceDistribution) -> Result<Self> {
        if scale.is_nan() || scale <= 0.0 {
            return Err(Error::argument(OPERATION, "scale", "positive", scale.to_string()));
        }
        let variance = scale / fan;
        Ok(match form {
            Uniform => Self::Uniform { min: -(3.0 * variance).sqrt(), max: (3.0 * variance).sqrt() },
            UntruncatedNormal => Self::Normal { mean: 0.0, stddev: variance.sqrt() },
            TruncatedNormal => {
                Self::TruncatedNormal { mean: 0.0, stddev: variance.sqrt() / TRUNCATED_STDDEV }
            }
        })
    }

    fn fill(self, count: usize, random: &mut Random) -> Vec<f64> {
        let mut draw = |_| match self {
            Self::Uniform { min, max } => min + (max - min) * random.uniform(),
            Self::Normal { mean, stddev } => mean + stddev * random.normal(),
            Self::TruncatedNormal { mean, stddev } => mean + stddev * random.truncated_normal(),
        };
        (0..count).map(&mut draw).collect()
    }
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
