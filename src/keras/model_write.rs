//! Writing `.keras` archives: a functional model around one attention layer.

use serde_json::{Map, Value, json};

use super::{archive, h5_write};
use crate::error::clip;
use crate::{Config, Error, FeatureWidths, Result, Weights};

const WRITE: &str = "model_to_keras";

/// The version of Keras whose files are written. Earlier ones read them too where they know the layer's arguments.
const KERAS_VERSION: &str = "3.15.1";

/// How the model that [`model_to_keras`] writes calls its layer. By default with query and value alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SavedCall {
    /// Whether the model has a third input, key. Without, value is the key.
    pub key: bool,
    /// Whether queries see no keys after themselves.
    pub use_causal_mask: bool,
}

/// A `.keras` archive that `keras.models.load_model` turns into a functional model of the inputs `query`, `value` and
/// perhaps `key`, in this order, and the output of this layer.
///
/// Its inputs are of type float32, which the layer casts to its own, and of any batch size and length.
///
/// Fails where `weights` are not those of a layer of this configuration, and where Keras refuses the model: `value` must
/// be as wide as `query`, the name must be without `/`. Initializers, regularizers and constraints that are not Keras'
/// own must be known to the Python program that loads it.
///
/// ```
/// use gqa::{Config, FeatureWidths, Weights, keras};
///
/// let config = Config { name: "attn".into(), ..Config::new(8, 4, 2) };
/// let weights = Weights::initialize(&config, FeatureWidths::all(16), 7)?;
/// let archive = keras::model_to_keras(&config, &weights, keras::SavedCall::default())?;
/// let model = keras::ModelFile::from_bytes(archive)?;
/// assert_eq!(model.weights(model.layer(Some("attn"))?)?, weights);
/// # Ok::<(), gqa::Error>(())
/// ```
pub fn model_to_keras(config: &Config, weights: &Weights, call: SavedCall) -> Result<Vec<u8>> {
    config.validate()?;
    let widths = weights.widths(WRITE, config)?;
    if config.name.is_empty() || config.name.contains('/') {
        let got = clip(&config.name, 80);
        return Err(Error::argument(
            WRITE,
            "name",
            "a name without `/`, as Keras demands",
            format!("`{got}`"),
        ));
    }
    let same_width = |argument: &str, of: &str, wanted: usize, got: usize| {
        let wrong =
            || Error::argument(WRITE, argument, format!("as wide as {of} ({wanted})"), got.to_string());
        if wanted == got { Ok(()) } else { Err(wrong()) }
    };
    same_width("value", "query, as Keras demands of a functional model", widths.query, widths.value)?;
    if !call.key {
        same_width("key", "value, which takes its place without a key", widths.value, widths.key)?;
    }
    let metadata = json!({"keras_version": KERAS_VERSION}).to_string();
    archive::pack(&[
        ("metadata.json", metadata.as_bytes()),
        ("config.json", model_json(config, widths, call).to_string().as_bytes()),
        (archive::WEIGHTS, &h5_write::weights_to_h5(config, weights)?),
    ])
}

/// The model's `config.json`.
///
/// One that both Keras 3.15 and 3.6 read: what one of them doesn't know is left out (`ragged` and `optional` of inputs,
/// the `compile_config` of a model that is not compiled), and the single output is not in a list of one, which 3.15 would
/// give back as such.
fn model_json(config: &Config, widths: FeatureWidths, call: SavedCall) -> Value {
    let inputs = [
        Some(("query", widths.query)),
        Some(("value", widths.value)),
        call.key.then_some(("key", widths.key)),
    ];
    let inputs: Vec<Input> =
        inputs.into_iter().flatten().map(|(argument, width)| Input::new(argument, width, config)).collect();
    let history: Vec<Value> = inputs.iter().map(|input| json!([input.name, 0, 0])).collect();
    let shapes: Map<String, Value> =
        inputs.iter().map(|input| (format!("{}_shape", input.argument), input.shape())).collect();
    let args: Vec<Value> = inputs.iter().take(2).map(Input::tensor).collect();
    let mut kwargs = Map::new();
    kwargs.extend(inputs.get(2).map(|input| ("key".to_owned(), input.tensor())));
    kwargs.extend(call.use_causal_mask.then(|| ("use_causal_mask".to_owned(), json!(true))));

    let mut layer = config.to_keras_json();
    layer["build_config"] = json!({"shapes_dict": shapes});
    layer["name"] = json!(config.name);
    layer["inbound_nodes"] = json!([{"args": args, "kwargs": kwargs}]);
    let layers: Vec<Value> = inputs.iter().map(Input::layer).chain([layer]).collect();
    json!({
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "functional",
            "trainable": true,
            "layers": layers,
            "input_layers": history,
            "output_layers": [config.name, 0, 0],
        },
        "registered_name": "Functional",
        "build_config": {"input_shape": null},
    })
}

/// An input of the model.
struct Input {
    argument: &'static str,
    name: String,
    width: usize,
}

impl Input {
    /// Named as the argument, unless the layer is.
    fn new(argument: &'static str, width: usize, config: &Config) -> Self {
        let name = if config.name == argument { format!("{argument}_input") } else { argument.into() };
        Self { argument, name, width }
    }

    fn shape(&self) -> Value {
        json!([null, null, self.width])
    }

    /// The input as a layer of the model.
    fn layer(&self) -> Value {
        json!({
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": {"batch_shape": self.shape(), "dtype": "float32", "sparse": false, "name": self.name},
            "registered_name": null,
            "name": self.name,
            "inbound_nodes": [],
        })
    }

    /// The input as an argument of a call.
    fn tensor(&self) -> Value {
        json!({
            "class_name": "__keras_tensor__",
            "config": {"shape": self.shape(), "dtype": "float32", "keras_history": [self.name, 0, 0]},
        })
    }
}
