//! What the tests share: the comparison, made-up values, and one layer case run on the GPU and on the reference.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[path = "../../src/testing/mod.rs"]
pub mod testing;

use std::path::Path;
use std::sync::OnceLock;

pub use gqa::conformance::{Inputs, LayerCase as Case, LayerData as Data, bools, values};
use gqa::keras::{FileKind, ModelFile};
use gqa::{
    AttentionPath, CallOutput, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor, Weights, reference,
};
use pollster::block_on;
use testing::compare::compare;
pub use testing::{compare, sampler};

pub const PATHS: [AttentionPath; 2] = AttentionPath::ALL;

/// The adapter under test: the one that `GQA_ADAPTER` names, or the best.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| block_on(Gpu::from_env()).expect("the tests need an adapter"))
}

/// Weights that keep activations near 1, biases that are not 0.
pub fn weights(config: &Config, widths: FeatureWidths, seed: u32) -> Weights {
    Case { widths, seed, ..Case::new(config.clone(), 1, [1; 3]) }.weights()
}

/// What a [`Case`] does on the adapter under test, waiting for it.
pub trait OnGpu {
    fn weights(&self) -> Weights;
    fn layer(&self, gpu: &Gpu) -> GroupedQueryAttention;
    fn expected(&self, data: &Data) -> reference::CallOutput;
    fn got(&self, layer: &GroupedQueryAttention, data: &Data) -> CallOutput;
    fn check(&self) -> Result<(), String>;
}

impl OnGpu for Case {
    fn weights(&self) -> Weights {
        self.draw_weights().unwrap()
    }

    fn layer(&self, gpu: &Gpu) -> GroupedQueryAttention {
        block_on(self.build(gpu)).unwrap()
    }

    /// Runs the reference.
    fn expected(&self, data: &Data) -> reference::CallOutput {
        self.call_reference(data).unwrap()
    }

    /// Runs the layer on the GPU, by the case's path: output, and scores where the path gives them.
    fn got(&self, layer: &GroupedQueryAttention, data: &Data) -> CallOutput {
        let got = block_on(self.call(layer, data)).unwrap();
        assert_eq!(got.path, self.path);
        got
    }

    /// Runs the reference and both paths, and compares output and scores at the dtype's tolerance.
    fn check(&self) -> Result<(), String> {
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

/// The tensors of a case.
pub fn upload(gpu: &Gpu, case: &Case, data: &Data) -> Inputs {
    block_on(Inputs::upload(gpu, case, data)).unwrap()
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

pub fn read(tensor: &Tensor) -> Vec<f64> {
    block_on(tensor.to_array()).unwrap().to_f64().into_data()
}
