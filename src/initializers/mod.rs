//! Keras' built-in initializers: how the weights of a new layer get their first values.

mod fans;
mod orthogonal;
mod random;
mod sample;
mod stft;
mod weights;
mod windows;

use serde_json::Value;

/// What errors call the drawing of values.
const OPERATION: &str = "Initializer::sample";

/// How a weight gets its first values. One variant for each of Keras' built-in initializers, with its arguments.
///
/// A `seed` fixes the values: every weight of the same shape then gets the same ones, as in Keras. Without it they
/// follow from the seed given to [`sample`](Self::sample) or [`Weights::initialize`](crate::Weights::initialize).
/// `input_axes` and `output_axes` say, if both are given, which axes of a weight multiply up to its fans; a negative
/// axis counts from the end.
///
/// ```
/// use gqa::Initializer;
///
/// let kernel = Initializer::HeNormal { seed: None, input_axes: Some(vec![0]), output_axes: Some(vec![1, 2]) };
/// let values = kernel.sample(&[64, 8, 16], 42)?;
/// assert_eq!(values.shape(), [64, 8, 16]);
/// # Ok::<(), gqa::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Initializer {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// All `value`.
    Constant {
        /// The value of every element. Keras' default is 0.
        value: f64,
    },
    /// `gain` times the identity matrix; for matrices only.
    Identity {
        /// The value on the diagonal. Keras' default is 1.
        gain: f64,
    },
    /// Normal.
    RandomNormal {
        /// Mean of the distribution. Keras' default is 0.
        mean: f64,
        /// Its standard deviation. Keras' default is 0.05.
        stddev: f64,
        /// Fixes the values.
        seed: Option<u64>,
    },
    /// Normal, redrawn where it is more than two standard deviations from the mean.
    TruncatedNormal {
        /// Mean of the distribution. Keras' default is 0.
        mean: f64,
        /// Its standard deviation before truncation. Keras' default is 0.05.
        stddev: f64,
        /// Fixes the values.
        seed: Option<u64>,
    },
    /// Uniform.
    RandomUniform {
        /// Lower bound. Keras' default is −0.05.
        minval: f64,
        /// Upper bound. Keras' default is 0.05.
        maxval: f64,
        /// Fixes the values.
        seed: Option<u64>,
    },
    /// Mean 0 and variance `scale` / n, where n is the fan that `mode` names, at least 1.
    VarianceScaling {
        /// What the variance is multiplied by. Positive; Keras' default is 1.
        scale: f64,
        /// Which fan divides it. Keras' default is [`FanMode::FanIn`].
        mode: FanMode,
        /// The form of the distribution. Keras' default is [`VarianceDistribution::TruncatedNormal`].
        distribution: VarianceDistribution,
        /// Fixes the values.
        seed: Option<u64>,
        /// The axes whose lengths multiply up to the fan in.
        input_axes: Option<Vec<i64>>,
        /// The axes whose lengths multiply up to the fan out.
        output_axes: Option<Vec<i64>>,
    },
    /// Glorot (Xavier) uniform: variance scaling, scale 1, `fan_avg`, uniform.
    GlorotUniform {
        /// Fixes the values.
        seed: Option<u64>,
        /// The axes whose lengths multiply up to the fan in.
        input_axes: Option<Vec<i64>>,
        /// The axes whose lengths multiply up to the fan out.
        output_axes: Option<Vec<i64>>,
    },
    /// Glorot (Xavier) normal: variance scaling, scale 1, `fan_avg`, truncated normal.
    GlorotNormal {
        /// Fixes the values.
        seed: Option<u64>,
        /// The axes whose lengths multiply up to the fan in.
        input_axes: Option<Vec<i64>>,
        /// The axes whose lengths multiply up to the fan out.
        output_axes: Option<Vec<i64>>,
    },
    /// LeCun normal: variance scaling, scale 1, `fan_in`, truncated normal.
    LecunNormal {
        /// Fixes the values.
        seed: Option<u64>,
        /// The axes whose lengths multiply up to the fan in.
        input_axes: Option<Vec<i64>>,
        /// The axes whose lengths multiply up to the fan out.
        output_axes: Option<Vec<i64>>,
    },
    /// LeCun uniform: variance scaling, scale 1, `fan_in`, uniform.
    LecunUniform {
        /// Fixes the values.
        seed: Option<u64>,
        /// The axes whose lengths multiply up to the fan in.
        input_axes: Option<Vec<i64>>,
        /// The axes whose lengths multiply up to the fan out.
        output_axes: Option<Vec<i64>>,
    },
    /// He normal: variance scaling, scale 2, `fan_in`, truncated normal.
    HeNormal {
        /// Fixes the values.
        seed: Option<u64>,
        /// The axes whose lengths multiply up to the fan in.
        input_axes: Option<Vec<i64>>,
        /// The axes whose lengths multiply up to the fan out.
        output_axes: Option<Vec<i64>>,
    },
    /// He uniform: variance scaling, scale 2, `fan_in`, uniform.
    HeUniform {
        /// Fixes the values.
        seed: Option<u64>,
        /// The axes whose lengths multiply up to the fan in.
        input_axes: Option<Vec<i64>>,
        /// The axes whose lengths multiply up to the fan out.
        output_axes: Option<Vec<i64>>,
    },
    /// `gain` times a random matrix with orthonormal columns, or rows where there are fewer of them. All axes but the
    /// last make the rows. For two axes and more.
    Orthogonal {
        /// The length of each column or row. Keras' default is 1.
        gain: f64,
        /// Fixes the values.
        seed: Option<u64>,
    },
    /// The real or imaginary side of a windowed short-term Fourier transform, for kernels
    /// `[frame length, 1, frequencies]`.
    Stft {
        /// Which side. Keras' default is [`StftSide::Real`].
        side: StftSide,
        /// What each frame is multiplied by, if anything. Keras' default is the window named `hann`.
        window: Option<StftWindow>,
        /// What the window is divided by, if anything. Keras' default is [`StftScaling::Density`].
        scaling: Option<StftScaling>,
        /// Whether a named window is one period of a repeating one (and not symmetric). Keras' default is false.
        periodic: bool,
    },
    /// One that is not Keras' own, kept as the JSON it came in. It can't be sampled.
    Other {
        /// The name of its class.
        class_name: String,
        /// All of it.
        json: Value,
    },
}

impl Initializer {
    /// Keras' default for kernels: [`GlorotUniform`](Self::GlorotUniform) with nothing fixed.
    pub fn glorot_uniform() -> Self {
        Self::GlorotUniform { seed: None, input_axes: None, output_axes: None }
    }
}

/// Keras' names of the values of an argument.
macro_rules! named_values {
    ($type:ident { $($variant:ident = $name:literal),+ }) => {
        impl $type {
            /// Keras' name of the value.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The value of this Keras name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

/// Which fan of a weight divides the variance of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FanMode {
    /// How many inputs reach one output.
    FanIn,
    /// How many outputs one input reaches.
    FanOut,
    /// The mean of both.
    FanAvg,
}
named_values!(FanMode { FanIn = "fan_in", FanOut = "fan_out", FanAvg = "fan_avg" });

/// The form of a variance-scaling distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VarianceDistribution {
    /// Normal within two standard deviations, widened so that the variance after truncation is the wanted one. Keras
    /// also calls it `normal`, and takes the names of this argument in any case.
    TruncatedNormal,
    /// Normal.
    UntruncatedNormal,
    /// Uniform within ±√(3 · variance).
    Uniform,
}
named_values!(VarianceDistribution {
    TruncatedNormal = "truncated_normal",
    UntruncatedNormal = "untruncated_normal",
    Uniform = "uniform"
});

/// Which side of a Fourier transform a kernel computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StftSide {
    /// The cosines.
    Real,
    /// The sines.
    Imag,
}
named_values!(StftSide { Real = "real", Imag = "imag" });

/// What a window is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StftScaling {
    /// Its L2 norm.
    Density,
    /// Its L1 norm.
    Spectrum,
}
named_values!(StftScaling { Density = "density", Spectrum = "spectrum" });

/// What a frame is multiplied by.
#[derive(Debug, Clone, PartialEq)]
pub enum StftWindow {
    /// The window that SciPy's `scipy.signal.get_window` gives for this name. Those that need no further argument can be
    /// sampled.
    Named(String),
    /// These values, one for each time step of a frame.
    Values(Vec<f64>),
}
