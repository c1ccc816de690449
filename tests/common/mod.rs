//! What the tests share: the comparison, made-up values, and one layer case run on the GPU and on the reference.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod compare;
pub mod turns;

use std::path::Path;
use std::sync::OnceLock;

use compare::compare;
use gqa::keras::{FileKind, ModelFile};
use gqa::{
    Array, AttentionPath, CallOptions, CallOutput, Config, DType, FeatureWidths, Gpu, GroupedQueryAttention,
    Tensor, Weights, philox4x32_10, reference, weight_specs,
};
use pollster::block_on;

pub const PATHS: [AttentionPath; 2] = [AttentionPath::Fused, AttentionPath::Chained];

/// The adapter under test: the one that `GQA_ADAPTER` names, or the best.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| block_on(Gpu::from_env()).expect("the tests need an adapter"))
}

/// Values in [−1, 1) that follow from their index.
pub fn values(shape: &[usize], seed: u32) -> Array {
    Array::from_fn(shape, |i| philox4x32_10([i as u32, seed, 0, 0], [3, 4])[0] as f32 / 2_147_483_648.0 - 1.0)
}

/// Booleans, about two of three true.
pub fn bools(shape: &[usize], seed: u32) -> Array<bool> {
    values(shape, seed).map(|&x| x > -0.3)
}

/// Weights that keep activations near 1, biases that are not 0.
pub fn weights(config: &Config, widths: FeatureWidths, seed: u32) -> Weights {
    let specs = weight_specs(config, widths);
    Weights::from_named("weights", config, |name| {
        let (index, spec) = specs.iter().enumerate().find(|(_, spec)| spec.name() == name).unwrap();
        let fan_in: usize = match spec.projection {
            "attention_output" => spec.shape[..spec.shape.len() - 1].iter().product(),
            _ => spec.shape[0],
        };
        let scale = if spec.variable == "kernel" { (3.0 / fan_in as f32).sqrt() } else { 0.5 };
        Ok(Some(values(&spec.shape, seed * 100 + index as u32).map(|x| x * scale)))
    })
    .unwrap()
}

/// One call of the layer: everything that the GPU and the reference need.
#[derive(Debug, Clone)]
pub struct Case {
    pub config: Config,
    pub widths: FeatureWidths,
    /// B, T, S
    pub sizes: [usize; 3],
    /// The type of the inputs.
    pub inputs: DType,
    pub with_key: bool,
    pub causal: bool,
    /// The shape of attention_mask.
    pub attention_mask: Option<Vec<usize>>,
    /// query_mask, value_mask, key_mask
    pub masks: [bool; 3],
    pub dropout_seed: Option<u64>,
    pub q_offset: u32,
    pub batch_offset: u32,
    pub path: AttentionPath,
    pub seed: u32,
}

impl Case {
    pub fn new(config: Config, width: usize, sizes: [usize; 3]) -> Self {
        Self {
            config,
            widths: FeatureWidths::all(width),
            sizes,
            inputs: DType::F32,
            with_key: false,
            causal: false,
            attention_mask: None,
            masks: [false; 3],
            dropout_seed: None,
            q_offset: 0,
            batch_offset: 0,
            path: AttentionPath::Chained,
            seed: 1,
        }
    }

    pub fn weights(&self) -> Weights {
        weights(&self.config, self.widths, self.seed)
    }

    pub fn data(&self) -> Data {
        let [b, t, s] = self.sizes;
        let seed = self.seed * 100;
        let round = |array: Array| array.map(|&x| self.inputs.round(x));
        let mask = |on: bool, length: usize, seed: u32| on.then(|| bools(&[b, length], seed));
        Data {
            query: round(values(&[b, t, self.widths.query], seed + 50)),
            value: round(values(&[b, s, self.widths.value], seed + 51)),
            key: self.with_key.then(|| round(values(&[b, s, self.widths.key], seed + 52))),
            attention_mask: self.attention_mask.as_ref().map(|shape| bools(shape, seed + 53)),
            query_mask: mask(self.masks[0], t, seed + 54),
            value_mask: mask(self.masks[1], s, seed + 55),
            key_mask: mask(self.masks[2], s, seed + 56),
        }
    }

    pub fn layer(&self, gpu: &Gpu) -> GroupedQueryAttention {
        block_on(GroupedQueryAttention::from_weights(gpu, self.config.clone(), &self.weights())).unwrap()
    }

    /// The weights as the policy keeps them.
    pub fn rounded_weights(&self) -> Weights {
        let dtype = self.config.dtype.variable_dtype();
        self.weights().map(|weight| weight.map(|&x| dtype.round(x)))
    }

    /// The options of the reference.
    pub fn reference_options<'a>(
        &self,
        data: &'a Data,
        key: Option<&'a Array<f64>>,
    ) -> reference::CallOptions<'a> {
        reference::CallOptions {
            key,
            attention_mask: data.attention_mask.as_ref(),
            query_mask: data.query_mask.as_ref(),
            value_mask: data.value_mask.as_ref(),
            key_mask: data.key_mask.as_ref(),
            use_causal_mask: self.causal,
            dropout_seed: self.dropout_seed,
            q_offset: self.q_offset,
            batch_offset: self.batch_offset,
        }
    }

    /// Runs the reference.
    pub fn expected(&self, data: &Data) -> reference::CallOutput {
        let key = data.key.as_ref().map(Array::to_f64);
        let options = self.reference_options(data, key.as_ref());
        let weights = self.weights().map(Array::to_f64);
        reference::call(&self.config, &weights, &data.query.to_f64(), &data.value.to_f64(), &options).unwrap()
    }

    /// Runs the layer on the GPU, by the case's path: output, and scores where the path gives them.
    pub fn got(&self, layer: &GroupedQueryAttention, data: &Data) -> CallOutput {
        let inputs = Inputs::new(layer.gpu(), self, data);
        let scores = self.path == AttentionPath::Chained;
        let got = block_on(layer.call(&inputs.query, &inputs.value, &inputs.options(self, scores))).unwrap();
        assert_eq!(got.path, self.path);
        got
    }

    /// Runs the reference and both paths, and compares output and scores at the dtype's tolerance.
    pub fn check(&self) -> Result<(), String> {
        let data = self.data();
        let expected = self.expected(&data);
        let layer = self.layer(gpu());
        let tolerance = self.config.dtype.compute_dtype().tolerance();
        for path in PATHS {
            let got = Self { path, ..self.clone() }.got(&layer, &data);
            let output = read(&got.attention_output);
            compare(&format!("{path:?}"), &output, expected.attention_output.data(), tolerance)?;
            if let Some(scores) = &got.attention_scores {
                compare("attention_scores", &read(scores), expected.attention_scores.data(), tolerance)?;
            }
        }
        Ok(())
    }
}

/// A layer of a model that Keras saved, in a folder of fixtures: the model alone, or its JSON with weights beside it.
pub fn saved_layer(folder: &Path, model: &str, weights: Option<&str>, layer: &str) -> (Config, Weights) {
    let model = std::fs::read(folder.join(model)).unwrap();
    let file = match weights {
        None => ModelFile::from_bytes(model).unwrap(),
        Some(weights) => {
            let json = String::from_utf8(model).unwrap();
            ModelFile::from_parts(&json, std::fs::read(folder.join(weights)).unwrap()).unwrap()
        }
    };
    assert_ne!(file.kind(), FileKind::Config);
    let layer = file.layer(Some(layer)).unwrap();
    assert_eq!(layer.unknown_keys(), &[] as &[String], "{}", layer.name());
    (layer.config().unwrap().clone(), file.weights(layer).unwrap())
}

/// The host arrays of a case.
pub struct Data {
    pub query: Array,
    pub value: Array,
    pub key: Option<Array>,
    pub attention_mask: Option<Array<bool>>,
    pub query_mask: Option<Array<bool>>,
    pub value_mask: Option<Array<bool>>,
    pub key_mask: Option<Array<bool>>,
}

/// The tensors of a case.
pub struct Inputs {
    pub query: Tensor,
    pub value: Tensor,
    key: Option<Tensor>,
    attention_mask: Option<Tensor>,
    query_mask: Option<Tensor>,
    value_mask: Option<Tensor>,
    key_mask: Option<Tensor>,
}

impl Inputs {
    pub fn new(gpu: &Gpu, case: &Case, data: &Data) -> Self {
        let float = |array: &Array| block_on(Tensor::from_array(gpu, array, case.inputs)).unwrap();
        let mask = |array: &Option<Array<bool>>| {
            array.as_ref().map(|mask| block_on(Tensor::from_mask(gpu, mask)).unwrap())
        };
        Self {
            query: float(&data.query),
            value: float(&data.value),
            key: data.key.as_ref().map(float),
            attention_mask: mask(&data.attention_mask),
            query_mask: mask(&data.query_mask),
            value_mask: mask(&data.value_mask),
            key_mask: mask(&data.key_mask),
        }
    }

    pub fn options(&self, case: &Case, scores: bool) -> CallOptions<'_> {
        CallOptions {
            key: self.key.as_ref(),
            attention_mask: self.attention_mask.as_ref(),
            query_mask: self.query_mask.as_ref(),
            value_mask: self.value_mask.as_ref(),
            key_mask: self.key_mask.as_ref(),
            use_causal_mask: case.causal,
            return_attention_scores: scores,
            training: case.dropout_seed.is_some(),
            seed: case.dropout_seed,
            q_offset: case.q_offset,
            batch_offset: case.batch_offset,
            path: Some(case.path),
        }
    }
}

pub fn read(tensor: &Tensor) -> Vec<f64> {
    block_on(tensor.to_array()).unwrap().to_f64().into_data()
}
