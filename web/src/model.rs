//! Files of Keras and safetensors.

use std::rc::Rc;

use gqa::GroupedQueryAttention;
use gqa::keras::{FileKind, LayerEntry, ModelFile};
use js_sys::Promise;
use serde_json::{Value, json};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{promise, to_js};
use crate::gpu::Gpu;
use crate::layer::Layer;

/// A file in memory.
#[wasm_bindgen]
pub struct Model(pub(crate) Rc<ModelFile>);

#[wasm_bindgen]
impl Model {
    /// Reads a file, or weights beside their configuration.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: Vec<u8>, config: Option<String>) -> Result<Self, JsValue> {
        let model = match config {
            Some(json) => ModelFile::from_parts(&json, bytes),
            None => ModelFile::from_bytes(bytes),
        };
        Ok(Self(Rc::new(model.map_err(to_js)?)))
    }

    /// What kind of file it is.
    #[wasm_bindgen(getter)]
    pub fn kind(&self) -> String {
        let kind = match self.0.kind() {
            FileKind::Archive => "keras",
            FileKind::H5 => "weights.h5",
            FileKind::Safetensors => "safetensors",
            FileKind::Config => "config",
            _ => "other",
        };
        kind.into()
    }

    /// The Keras that wrote it, if it says so.
    #[wasm_bindgen(getter, js_name = kerasVersion)]
    pub fn keras_version(&self) -> Option<String> {
        self.0.keras_version().map(str::to_owned)
    }

    /// An array of `LayerEntry` as JSON.
    pub fn layers(&self) -> String {
        Value::from_iter(self.0.layers().iter().map(entry)).to_string()
    }

    /// The file with other weights for a layer.
    #[wasm_bindgen(js_name = replaceWeights)]
    pub fn replace_weights(&self, name: Option<String>, layer: &Layer) -> Promise {
        let (model, layer) = (self.0.clone(), layer.0.clone());
        promise(async move {
            let weights = layer.borrow().read_weights().await.map_err(to_js)?;
            let entry = model.layer(name.as_deref()).map_err(to_js)?;
            let bytes = model.replace_weights(entry, &weights).map_err(to_js)?;
            Ok(js_sys::Uint8Array::from(&bytes[..]))
        })
    }
}

/// A layer of a file.
#[wasm_bindgen(js_name = layerFromModel)]
pub fn layer_from_model(gpu: &Gpu, model: &Model, name: Option<String>) -> Promise {
    let (gpu, model) = (gpu.0.clone(), model.0.clone());
    promise(async move {
        let entry = model.layer(name.as_deref()).map_err(to_js)?;
        let config = entry.config().map_err(to_js)?.clone();
        let weights = model.weights(entry).map_err(to_js)?;
        let layer = GroupedQueryAttention::from_weights(&gpu, config, &weights).await;
        Ok(Layer::new(layer.map_err(to_js)?))
    })
}

fn entry(layer: &LayerEntry) -> Value {
    let mut entry = json!({ "name": layer.name(), "unknownKeys": layer.unknown_keys() });
    if let Some(path) = layer.path() {
        entry["path"] = path.into();
    }
    match layer.config() {
        Ok(config) => entry["config"] = config.to_keras_json()["config"].clone(),
        Err(problem) => entry["problem"] = problem.to_string().into(),
    }
    if let Some(widths) = layer.widths() {
        entry["widths"] = json!({ "query": widths.query, "key": widths.key, "value": widths.value });
    }
    entry
}
