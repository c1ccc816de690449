//! The layer. `index.js` lets the calls of one layer run one after the other, so none finds it borrowed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use gqa::keras::{SavedCall, model_to_keras, weights_to_h5, weights_to_safetensors};
use gqa::training::mean_squared_error;
use gqa::{Array, Config, FeatureWidths, GroupedQueryAttention, Weights};
use js_sys::{Float32Array, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::call::{Arguments, Output};
use crate::error::{argument, coded, promise, to_js};
use crate::gpu::Gpu;
use crate::optimizer::{self, Optimizer};
use crate::tensor::{Tensor, floats};

/// A layer on a device.
#[wasm_bindgen]
pub struct Layer(pub(crate) Rc<RefCell<GroupedQueryAttention>>);

impl Layer {
    pub(crate) fn new(layer: GroupedQueryAttention) -> Self {
        Self(Rc::new(RefCell::new(layer)))
    }
}

/// Keras' arguments as JSON. Keys without a meaning are refused: they are typing errors.
fn config_of(json: &str) -> Result<Config, JsValue> {
    let parsed = Config::from_keras_json(json).map_err(to_js)?;
    match &parsed.unknown_keys[..] {
        [] => Ok(parsed.config),
        [key, ..] => Err(argument("config", "made of the layer's arguments", &format!("`{key}`"))),
    }
}

/// A layer with fresh weights.
#[wasm_bindgen(js_name = createLayer)]
pub fn create_layer(
    gpu: &Gpu,
    config: &str,
    query: usize,
    key: usize,
    value: usize,
    seed: u64,
) -> Result<Promise, JsValue> {
    let (gpu, config) = (gpu.0.clone(), config_of(config)?);
    let widths = FeatureWidths { query, key, value };
    Ok(promise(async move {
        let layer = GroupedQueryAttention::new(&gpu, config, widths, seed).await.map_err(to_js)?;
        Ok(Layer::new(layer))
    }))
}

/// Weights by name, on their way into a layer.
#[wasm_bindgen]
#[derive(Default)]
pub struct NamedWeights(HashMap<String, Array>);

#[wasm_bindgen]
impl NamedWeights {
    /// None yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, of a `Float32Array`.
    pub fn add(&mut self, name: String, data: &JsValue, shape: Vec<usize>) -> Result<(), JsValue> {
        let array = Array::new(shape, floats(data)?).map_err(to_js)?;
        self.0.insert(name, array);
        Ok(())
    }

    /// The layer of them. They are gone from here then.
    pub fn layer(&mut self, gpu: &Gpu, config: &str) -> Result<Promise, JsValue> {
        const OPERATION: &str = "Layer.fromWeights";
        let (gpu, config) = (gpu.0.clone(), config_of(config)?);
        let mut named = std::mem::take(&mut self.0);
        let weights =
            Weights::from_named(OPERATION, &config, |name| Ok(named.remove(name))).map_err(to_js)?;
        if let Some(name) = named.keys().next() {
            let known = weights.named().into_iter().map(|(name, _)| name).collect();
            let error = gqa::Error::UnknownTensor { operation: OPERATION, name: name.clone(), known };
            return Err(to_js(error));
        }
        Ok(promise(async move {
            let layer = GroupedQueryAttention::from_weights(&gpu, config, &weights).await;
            Ok(Layer::new(layer.map_err(to_js)?))
        }))
    }
}

/// The gradients of one call.
#[wasm_bindgen]
#[derive(Clone)]
pub struct Gradients(gqa::Gradients);

#[wasm_bindgen]
impl Gradients {
    /// The names of the weights.
    pub fn names(&self) -> Vec<String> {
        self.0.weights.named().into_iter().map(|(name, _)| name).collect()
    }

    /// Of the weight of this name.
    pub fn weight(&self, name: &str) -> Option<Tensor> {
        let found = self.0.weights.named().into_iter().find(|(found, _)| found == name);
        found.map(|(_, tensor)| Tensor(tensor.clone()))
    }

    /// Of `query`, `value` or `key`.
    pub fn input(&self, name: &str) -> Option<Tensor> {
        let tensor = match name {
            "query" => Some(&self.0.query),
            "value" => Some(&self.0.value),
            _ => self.0.key.as_ref(),
        };
        tensor.cloned().map(Tensor)
    }
}

#[wasm_bindgen]
impl Layer {
    /// Keras' arguments as JSON.
    pub fn config(&self) -> String {
        self.0.borrow().config().to_keras_json()["config"].to_string()
    }

    /// Widths of query, key and value.
    pub fn widths(&self) -> Vec<usize> {
        let FeatureWidths { query, key, value } = self.0.borrow().widths();
        vec![query, key, value]
    }

    /// A call.
    pub fn call(&self, arguments: &Arguments) -> Promise {
        let (layer, arguments) = (self.0.clone(), arguments.clone());
        promise(async move {
            let query = Arguments::need("query", &arguments.query)?;
            let value = Arguments::need("value", &arguments.value)?;
            let called = layer.borrow().call(query, value, &arguments.options()).await.map_err(to_js)?;
            Ok(Output {
                output: Some(called.attention_output),
                lse: None,
                scores: called.attention_scores,
                dropout_seed: called.dropout_seed,
                path: called.path,
            })
        })
    }

    /// The gradients of Σ output · gradient plus regularization.
    pub fn gradients(&self, arguments: &Arguments, gradient: &Tensor) -> Promise {
        let (layer, arguments, gradient) = (self.0.clone(), arguments.clone(), gradient.0.clone());
        promise(async move {
            let query = Arguments::need("query", &arguments.query)?;
            let value = Arguments::need("value", &arguments.value)?;
            let layer = layer.borrow();
            let (_, tape) = layer.call_with_tape(query, value, &arguments.options()).await.map_err(to_js)?;
            Ok(Gradients(tape.backward(&gradient).await.map_err(to_js)?))
        })
    }

    /// One step towards the target; the loss before it.
    #[wasm_bindgen(js_name = trainStep)]
    pub fn train_step(&self, arguments: &Arguments, target: &Tensor, optimizer: &Optimizer) -> Promise {
        let (layer, arguments) = (self.0.clone(), arguments.clone());
        let (target, slot) = (target.0.clone(), optimizer.0.clone());
        promise(async move {
            let query = Arguments::need("query", &arguments.query)?;
            let value = Arguments::need("value", &arguments.value)?;
            let (loss, penalty, gradients) = {
                let layer = layer.borrow();
                let (called, tape) =
                    layer.call_with_tape(query, value, &arguments.options()).await.map_err(to_js)?;
                let loss = mean_squared_error(&called.attention_output, &target).await.map_err(to_js)?;
                let penalty = tape.regularization_loss().cloned();
                let gradients = tape.backward(&loss.gradient).await.map_err(to_js)?;
                (loss.value, penalty, gradients)
            };
            take_step(&layer, &slot, &gradients).await?;
            let mut total = scalar(&loss).await?;
            if let Some(penalty) = &penalty {
                total += scalar(penalty).await?;
            }
            Ok(total)
        })
    }

    /// One step with these gradients.
    pub fn step(&self, optimizer: &Optimizer, gradients: &Gradients) -> Promise {
        let (layer, slot, gradients) = (self.0.clone(), optimizer.0.clone(), gradients.0.clone());
        promise(async move {
            take_step(&layer, &slot, &gradients).await?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// The weights as an object of `HostTensor` by name.
    pub fn weights(&self) -> Promise {
        let layer = self.0.clone();
        promise(async move {
            let weights = layer.borrow().read_weights().await.map_err(to_js)?;
            let all = Object::new();
            for (name, array) in weights.named() {
                let shape: Vec<f64> = array.shape().iter().map(|&length| length as f64).collect();
                let host = Object::new();
                Reflect::set(&host, &"data".into(), &Float32Array::from(array.data()))?;
                Reflect::set(
                    &host,
                    &"shape".into(),
                    &js_sys::Array::from_iter(shape.iter().map(|&x| JsValue::from(x))),
                )?;
                Reflect::set(&host, &"dtype".into(), &"float32".into())?;
                Reflect::set(&all, &name.into(), &host)?;
            }
            Ok(all)
        })
    }

    /// The layer as a file.
    pub fn save(&self, format: String) -> Promise {
        let layer = self.0.clone();
        promise(async move {
            let layer = layer.borrow();
            let (weights, config) = (layer.read_weights().await.map_err(to_js)?, layer.config());
            let bytes = match format.as_str() {
                "keras" => model_to_keras(config, &weights, SavedCall::default()),
                "weights.h5" => weights_to_h5(config, &weights),
                "safetensors" => {
                    weights_to_safetensors(&weights, Some(config), config.dtype.variable_dtype())
                }
                other => {
                    let expected = "keras, weights.h5 or safetensors";
                    return Err(argument("format", expected, &format!("`{other}`")));
                }
            };
            Ok(Uint8Array::from(&bytes.map_err(to_js)?[..]))
        })
    }
}

/// A step of the optimizer, which is free again afterwards whatever happens.
async fn take_step(
    layer: &RefCell<GroupedQueryAttention>,
    slot: &optimizer::Slot,
    gradients: &gqa::Gradients,
) -> Result<(), JsValue> {
    let mut optimizer = optimizer::take(slot)?;
    let stepped = match layer.try_borrow_mut() {
        Ok(mut layer) => layer.step(&mut optimizer, gradients).await.map_err(to_js),
        Err(_) => Err(coded("internal", "the layer is in use")),
    };
    optimizer::give(slot, optimizer);
    stepped
}

async fn scalar(tensor: &gqa::Tensor) -> Result<f64, JsValue> {
    let values = tensor.to_vec::<f32>().await.map_err(to_js)?;
    Ok(values.first().copied().map_or(f64::NAN, f64::from))
}
