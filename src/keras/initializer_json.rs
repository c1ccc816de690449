//! Keras' JSON form of initializers.

use serde_json::{Value, json};

use super::{
    json::{from_number, number},
    terms_json::{Object, class_name, object, read_seed},
};
use crate::{
    Initializer,
    initializers::{FanMode, StftScaling, StftSide, StftWindow, VarianceDistribution},
};

/// The initializer; anything that is not Keras' own as [`Initializer::Other`].
pub(super) fn read_initializer(value: &Value) -> Initializer {
    read(value).unwrap_or_else(|| Initializer::Other { class_name: class_name(value), json: value.clone() })
}

fn read(value: &Value) -> Option<Initializer> {
    let mut object = Object::read(value)?;
    // Keras' names, the older ones that it still takes, and in 3.6 those of the classes.
    let initializer = match object.class.as_str() {
        "zeros" | "zero" => Initializer::Zeros,
        "ones" | "one" => Initializer::Ones,
        "constant" => Initializer::Constant { value: object.number("value", 0.0)? },
        "identity" | "identityinitializer" => Initializer::Identity { gain: object.number("gain", 1.0)? },
        "randomnormal" | "normal" => Initializer::RandomNormal {
            mean: object.number("mean", 0.0)?,
            stddev: object.number("stddev", 0.05)?,
            seed: object.seed()?,
        },
        "truncatednormal" => Initializer::TruncatedNormal {
            mean: object.number("mean", 0.0)?,
            stddev: object.number("stddev", 0.05)?,
            seed: object.seed()?,
        },
        "randomuniform" | "uniform" => Initializer::RandomUniform {
            minval: object.number("minval", -0.05)?,
            maxval: object.number("maxval", 0.05)?,
            seed: object.seed()?,
        },
        "variancescaling" => Initializer::VarianceScaling {
            scale: object.number("scale", 1.0)?,
            mode: FanMode::from_name(object.get("mode").map_or(Some("fan_in"), Value::as_str)?)?,
            distribution: match object.get("distribution") {
                None => VarianceDistribution::TruncatedNormal,
                Some(name) => match name.as_str()?.to_lowercase().as_str() {
                    "normal" => VarianceDistribution::TruncatedNormal,
                    name => VarianceDistribution::from_name(name)?,
                },
            },
            seed: object.seed()?,
            input_axes: object.fan_axes("input_axes")?,
            output_axes: object.fan_axes("output_axes")?,
        },
        "glorotuniform" | "glorotnormal" | "lecununiform" | "lecunnormal" | "heuniform" | "henormal" => {
            let (seed, input_axes, output_axes) =
                (object.seed()?, object.fan_axes("input_axes")?, object.fan_axes("output_axes")?);
            match object.class.as_str() {
                "glorotuniform" => Initializer::GlorotUniform { seed, input_axes, output_axes },
                "glorotnormal" => Initializer::GlorotNormal { seed, input_axes, output_axes },
                "lecununiform" => Initializer::LecunUniform { seed, input_axes, output_axes },
                "lecunnormal" => Initializer::LecunNormal { seed, input_axes, output_axes },
                "heuniform" => Initializer::HeUniform { seed, input_axes, output_axes },
                _ => Initializer::HeNormal { seed, input_axes, output_axes },
            }
        }
        "orthogonal" | "orthogonalinitializer" => {
            Initializer::Orthogonal { gain: object.number("gain", 1.0)?, seed: object.seed()? }
        }
        "stft" | "stftinitializer" => Initializer::Stft {
            side: StftSide::from_name(object.get("side").map_or(Some("real"), Value::as_str)?)?,
            window: match object.get("window") {
                None => Some(StftWindow::Named("hann".into())),
                Some(Value::Null) => None,
                Some(Value::String(name)) => Some(StftWindow::Named(name.clone())),
                Some(values) => {
                    Some(StftWindow::Values(values.as_array()?.iter().map(number).collect::<Option<_>>()?))
                }
            },
            scaling: match object.get("scaling") {
                None => Some(StftScaling::Density),
                Some(Value::Null) => None,
                Some(name) => Some(StftScaling::from_name(name.as_str()?)?),
            },
            periodic: object.get("periodic").map_or(Some(false), Value::as_bool)?,
        },
        _ => return None,
    };
    object.complete(initializer)
}

impl Object<'_> {
    fn seed(&mut self) -> Option<Option<u64>> {
        self.get("seed").map_or(Some(None), read_seed)
    }

    fn fan_axes(&mut self, key: &'static str) -> Option<Option<Vec<i64>>> {
        match self.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(axes) => Some(Some(axes.as_array()?.iter().map(Value::as_i64).collect::<Option<_>>()?)),
        }
    }
}

/// What Keras' serializer writes; the arguments that Keras 3.6 doesn't know only where they are given.
pub(super) fn write_initializer(initializer: &Initializer) -> Value {
    let scaled =
        |class, seed: &Option<u64>, input_axes: &Option<Vec<i64>>, output_axes: &Option<Vec<i64>>| {
            let mut config = json!({"seed": seed});
            for (key, axes) in [("input_axes", input_axes), ("output_axes", output_axes)] {
                if let Some(axes) = axes {
                    config[key] = json!(axes);
                }
            }
            (class, config)
        };
    let (class, config) = match initializer {
        Initializer::Zeros => ("Zeros", json!({})),
        Initializer::Ones => ("Ones", json!({})),
        Initializer::Constant { value } => ("Constant", json!({"value": from_number(*value)})),
        Initializer::Identity { gain } => ("Identity", json!({"gain": from_number(*gain)})),
        Initializer::RandomNormal { mean, stddev, seed } => (
            "RandomNormal",
            json!({"mean": from_number(*mean), "stddev": from_number(*stddev), "seed": seed}),
        ),
        Initializer::TruncatedNormal { mean, stddev, seed } => (
            "TruncatedNormal",
            json!({"mean": from_number(*mean), "stddev": from_number(*stddev), "seed": seed}),
        ),
        Initializer::RandomUniform { minval, maxval, seed } => (
            "RandomUniform",
            json!({"minval": from_number(*minval), "maxval": from_number(*maxval), "seed": seed}),
        ),
        Initializer::VarianceScaling { scale, mode, distribution, seed, input_axes, output_axes } => {
            let (class, mut config) = scaled("VarianceScaling", seed, input_axes, output_axes);
            config["scale"] = from_number(*scale);
            config["mode"] = mode.name().into();
            config["distribution"] = distribution.name().into();
            (class, config)
        }
        Initializer::GlorotUniform { seed, input_axes, output_axes } => {
            scaled("GlorotUniform", seed, input_axes, output_axes)
        }
        Initializer::GlorotNormal { seed, input_axes, output_axes } => {
            scaled("GlorotNormal", seed, input_axes, output_axes)
        }
        Initializer::LecunNormal { seed, input_axes, output_axes } => {
            scaled("LecunNormal", seed, input_axes, output_axes)
        }
        Initializer::LecunUniform { seed, input_axes, output_axes } => {
            scaled("LecunUniform", seed, input_axes, output_axes)
        }
        Initializer::HeNormal { seed, input_axes, output_axes } => {
            scaled("HeNormal", seed, input_axes, output_axes)
        }
        Initializer::HeUniform { seed, input_axes, output_axes } => {
            scaled("HeUniform", seed, input_axes, output_axes)
        }
        Initializer::Orthogonal { gain, seed } => {
            ("Orthogonal", json!({"gain": from_number(*gain), "seed": seed}))
        }
        Initializer::Stft { side, window, scaling, periodic } => {
            let window = match window {
                None => Value::Null,
                Some(StftWindow::Named(name)) => json!(name),
                Some(StftWindow::Values(values)) => values.iter().map(|&x| from_number(x)).collect(),
            };
            let scaling = scaling.map(StftScaling::name);
            ("STFT", json!({"side": side.name(), "window": window, "scaling": scaling, "periodic": periodic}))
        }
        Initializer::Other { json, .. } => return json.clone(),
    };
    object("keras.initializers", class, config)
}
