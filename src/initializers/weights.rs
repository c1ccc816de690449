//! The weights of a new layer.

use crate::{Config, Error, FeatureWidths, Initializer, Result, WeightSpec, Weights, weight_specs};

const OPERATION: &str = "Weights::initialize";

impl Weights {
    /// The weights of a new layer, from the initializers of its configuration and rounded to the type of its variables.
    ///
    /// What an initializer without a seed of its own gives is independent from weight to weight, and depends on `seed`
    /// and on the name of the weight, not on which other weights there are. One with its own seed gives equal
    /// values to weights of equal shape, as in Keras, where every projection has a copy of the initializer.
    ///
    /// Fails where the configuration is not valid or an initializer can't fill one of the weights.
    ///
    /// ```
    /// use gqa::{Config, FeatureWidths, Weights};
    ///
    /// let weights = Weights::initialize(&Config::new(16, 8, 2), FeatureWidths::all(64), 42)?;
    /// assert_eq!(weights.key.kernel.shape(), [64, 2, 16]);
    /// # Ok::<(), gqa::Error>(())
    /// ```
    pub fn initialize(config: &Config, widths: FeatureWidths, seed: u64) -> Result<Self> {
        config.validate()?;
        let dtype = config.dtype.variable_dtype();
        let specs = weight_specs(config, widths);
        Self::from_named(OPERATION, config, |name| {
            let Some(spec) = specs.iter().find(|spec| spec.name() == name) else { return Ok(None) };
            let array = initializer(config, spec).sample_stream(&spec.shape, seed, stream(name));
            Ok(Some(array.map_err(|error| in_layer(error, spec))?.map(|&x| dtype.round(x))))
        })
    }
}

fn initializer<'a>(config: &'a Config, spec: &WeightSpec) -> &'a Initializer {
    match spec.variable {
        "bias" => &config.bias_initializer,
        _ => &config.kernel_initializer,
    }
}

/// The random stream of a weight: its name hashed by 64-bit FNV-1a.
fn stream(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What [`Initializer::sample`] refused, as an argument of the layer.
fn in_layer(error: Error, spec: &WeightSpec) -> Error {
    match error {
        Error::Argument { argument, expected, got, .. } => Error::argument(
            OPERATION,
            format!("{}_initializer", spec.variable),
            format!("one that can fill {} of shape {:?} (`{argument}` {expected})", spec.name(), spec.shape),
            got,
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Array, DTypePolicy};

    const WIDTHS: FeatureWidths = FeatureWidths { query: 12, key: 10, value: 10 };

    fn config() -> Config {
        Config { use_gate: true, ..Config::new(4, 6, 3) }
    }

    #[test]
    fn every_weight_has_its_initializer() -> Result<()> {
        let config = Config { bias_initializer: Initializer::Constant { value: 0.25 }, ..config() };
        let weights = Weights::initialize(&config, WIDTHS, 5)?;
        let specs = weight_specs(&config, WIDTHS);
        assert_eq!(weights.named().len(), specs.len());
        for ((name, array), spec) in weights.named().into_iter().zip(specs) {
            assert_eq!((name, array.shape()), (spec.name(), &spec.shape[..]));
            match spec.variable {
                "bias" => assert!(array.data().iter().all(|&x| x == 0.25)),
                _ => assert!(array.data().iter().all(|&x| x != 0.25 && x != 0.0)),
            }
        }
        Ok(())
    }

    #[test]
    fn weights_are_independent_and_reproducible() -> Result<()> {
        let weights = Weights::initialize(&config(), WIDTHS, 5)?;
        assert_eq!(weights, Weights::initialize(&config(), WIDTHS, 5)?);
        assert_ne!(weights, Weights::initialize(&config(), WIDTHS, 6)?);
        // Those of equal shape.
        assert_ne!(weights.key, weights.value);
        assert_ne!(Some(&weights.query), weights.gate.as_ref());
        // A layer without gate and biases has the same kernels otherwise.
        let bare = Weights::initialize(&Config { use_gate: false, use_bias: false, ..config() }, WIDTHS, 5)?;
        assert_eq!(bare.attention_output.kernel, weights.attention_output.kernel);
        Ok(())
    }

    #[test]
    fn an_own_seed_repeats_values_as_in_keras() -> Result<()> {
        let kernel_initializer =
            Initializer::GlorotUniform { seed: Some(3), input_axes: None, output_axes: None };
        let config = Config { kernel_initializer, ..config() };
        let weights = Weights::initialize(&config, WIDTHS, 5)?;
        assert_eq!(weights.key, weights.value);
        assert_eq!(Some(&weights.query), weights.gate.as_ref());
        assert_eq!(weights, Weights::initialize(&config, WIDTHS, 6)?);
        Ok(())
    }

    #[test]
    fn values_are_those_of_the_variable_dtype() -> Result<()> {
        let exact = Weights::initialize(&config(), WIDTHS, 5)?;
        for dtype in DTypePolicy::ALL {
            let rounded = exact.map(|array: &Array| array.map(|&x| dtype.variable_dtype().round(x)));
            assert_eq!(Weights::initialize(&Config { dtype, ..config() }, WIDTHS, 5)?, rounded, "{dtype}");
        }
        Ok(())
    }

    #[test]
    fn an_error_names_the_argument_and_the_weight() {
        let refused = |config: Config, widths| match Weights::initialize(&config, widths, 5) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        };
        let identity = Config { kernel_initializer: Initializer::Identity { gain: 1.0 }, ..config() };
        assert_eq!(
            refused(identity, WIDTHS),
            "Weights::initialize: `kernel_initializer` must be one that can fill query/kernel of shape [12, 6, 4] \
             (`shape` of two axes for Identity), but got [12, 6, 4]"
        );
        let orthogonal = Initializer::Orthogonal { gain: 1.0, seed: None };
        // Biases of heads are matrices, that of the output is not.
        let message = refused(Config { bias_initializer: orthogonal, ..config() }, WIDTHS);
        assert!(message.contains("attention_output/bias"), "{message}");
        assert!(refused(Config::new(4, 6, 4), WIDTHS).contains("num_query_heads"));
        assert!(refused(config(), FeatureWidths { key: 0, ..WIDTHS }).contains("key/kernel"));
    }
}
