//! How Keras trains, on the adapter under test: the gradients of `tests/fixtures/gradients.py` and the runs of
//! `tests/fixtures/training.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::compare::compare;
use common::sampler::CaseSampler;
use common::{gpu, read, saved_layer};
use gqa::keras::{NamedTensor, TensorData, read_tensors};
use gqa::training::{Optimizer, mean_squared_error};
use gqa::{Array, CallOptions, DType, GroupedQueryAttention, Tensor};
use pollster::block_on;

const LOSS_TOLERANCE: f64 = 1e-4;
const WEIGHT_TOLERANCE: f64 = 1e-3;

/// How far a gradient may be from the expected one. In half precision that is a little over twice Keras' own error.
fn gradient_tolerance(compute_dtype: DType) -> f64 {
    match compute_dtype {
        DType::F16 => 6e-3,
        DType::Bf16 => 5e-2,
        _ => 1e-4,
    }
}

/// A row of `cases.json`.
#[derive(serde::Deserialize)]
struct Row {
    name: String,
    model: String,
    weights: Option<String>,
    layer: String,
    causal: bool,
    training: bool,
    dtype: String,
    about: String,
    /// Of training runs.
    #[serde(default)]
    steps: usize,
    /// Of training runs.
    optimizer: Option<OptimizerRow>,
}

impl Row {
    /// What it is a case of.
    fn traits(&self) -> Vec<String> {
        let mut all = vec![
            format!("policy {}", self.dtype),
            format!("causal {} training {}", self.causal, self.training),
        ];
        if let Some(optimizer) = &self.optimizer {
            let OptimizerRow { name, momentum, nesterov, weight_decay, global_clipnorm, .. } = optimizer;
            let (momentum, decay) = (momentum.is_some(), weight_decay.is_some());
            all.push(format!("{name} momentum {momentum} nesterov {nesterov}"));
            all.push(format!("{name} decay {decay}"));
            all.push(format!("clipnorm {}", global_clipnorm.is_some()));
        }
        all
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OptimizerRow {
    name: String,
    learning_rate: LearningRate,
    momentum: Option<f64>,
    #[serde(default)]
    nesterov: bool,
    weight_decay: Option<f64>,
    global_clipnorm: Option<f64>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum LearningRate {
    Constant(f64),
    /// One per step.
    Schedule(Vec<f64>),
}

impl OptimizerRow {
    fn optimizer(&self) -> Optimizer {
        let mut optimizer = match self.name.as_str() {
            "sgd" => Optimizer::sgd(),
            "adam" => Optimizer::adam(),
            "adamw" => Optimizer::adamw(),
            other => panic!("no optimizer {other}"),
        };
        if let Some(momentum) = self.momentum {
            optimizer = optimizer.with_momentum(momentum).with_nesterov(self.nesterov);
        }
        optimizer = match &self.learning_rate {
            LearningRate::Constant(rate) => optimizer.with_learning_rate(*rate),
            LearningRate::Schedule(rates) => {
                let rates = rates.clone();
                optimizer.with_schedule(move |iteration| rates[iteration as usize])
            }
        };
        optimizer.with_weight_decay(self.weight_decay).with_global_clipnorm(self.global_clipnorm)
    }
}

/// A case with its layer, what that is called with, and what Keras computes.
struct Fixture {
    row: Row,
    layer: GroupedQueryAttention,
    inputs: BTreeMap<String, Tensor>,
    expected: BTreeMap<String, Vec<f64>>,
}

impl Fixture {
    fn read(folder: &Path, row: Row) -> Self {
        let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let (config, weights) = saved_layer(folder, &row.model, row.weights.as_deref(), &row.layer);
        assert_eq!(config.dtype.name(), row.dtype, "{}", row.name);
        let tensors =
            |suffix: &str| read_tensors(&file(&format!("{}.{suffix}.safetensors", row.name))).unwrap();
        let numbers = |tensor: NamedTensor| tensor.into_float().unwrap().to_f64().into_data();
        Self {
            layer: block_on(GroupedQueryAttention::from_weights(gpu(), config, &weights)).unwrap(),
            inputs: tensors("inputs")
                .into_iter()
                .map(|tensor| (tensor.name.clone(), upload(&tensor)))
                .collect(),
            expected: tensors("expected")
                .into_iter()
                .map(|tensor| (tensor.name.clone(), numbers(tensor)))
                .collect(),
            row,
        }
    }

    fn options(&self) -> CallOptions<'_> {
        CallOptions {
            key: self.inputs.get("key"),
            attention_mask: self.inputs.get("attention_mask"),
            query_mask: self.inputs.get("query_mask"),
            value_mask: self.inputs.get("value_mask"),
            key_mask: self.inputs.get("key_mask"),
            use_causal_mask: self.row.causal,
            training: self.row.training,
            ..Default::default()
        }
    }

    /// Compares the gradients, and the regularization loss.
    fn check_gradients(&self) -> Result<(), String> {
        let (query, value) = (&self.inputs["query"], &self.inputs["value"]);
        let (_, tape) = block_on(self.layer.call_with_tape(query, value, &self.options())).unwrap();
        let regularization_loss = tape.regularization_loss().map_or(vec![0.0], read);
        let gradients = block_on(tape.backward(&self.inputs["output_gradient"])).unwrap();

        let of_inputs = [
            ("query", Some(&gradients.query)),
            ("key", gradients.key.as_ref()),
            ("value", Some(&gradients.value)),
        ];
        let of_inputs = of_inputs.into_iter().filter_map(|(name, tensor)| Some((name.to_owned(), tensor?)));
        let mut got: BTreeMap<String, Vec<f64>> = gradients
            .weights
            .named()
            .into_iter()
            .chain(of_inputs)
            .map(|(name, tensor)| (format!("grad/{name}"), read(tensor)))
            .collect();
        let largest = got.keys().filter_map(|name| self.expected.get(name)).flatten();
        let largest = largest.fold(0.0, |largest: f64, x| largest.max(x.abs()));
        got.insert("regularization_loss".to_owned(), regularization_loss);
        assert!(got.keys().eq(self.expected.keys()), "{:?}, expected {:?}", got.keys(), self.expected.keys());

        let tolerance = gradient_tolerance(self.layer.config().dtype.compute_dtype());
        for (name, mut got) in got {
            let mut expected = self.expected[&name].clone();
            if name == "grad/key/bias" {
                // A sum in which everything but regularizers cancels: its errors are measured by the other gradients.
                got.push(largest);
                expected.push(largest);
            }
            compare(&name, &got, &expected, tolerance)?;
        }
        Ok(())
    }

    /// Trains, and compares the loss before each step and the weights after the last.
    fn check_training(&self) -> Result<(), String> {
        let (query, value, target) = (&self.inputs["query"], &self.inputs["value"], &self.inputs["target"]);
        let mut optimizer = self.row.optimizer.as_ref().unwrap().optimizer();
        let losses = &self.expected["loss"];
        assert_eq!(losses.len(), self.row.steps);
        for (step, &expected) in losses.iter().enumerate() {
            let (called, tape) = block_on(self.layer.call_with_tape(query, value, &self.options())).unwrap();
            let loss = block_on(mean_squared_error(&called.attention_output, target)).unwrap();
            let regularization_loss = tape.regularization_loss().map_or(0.0, |loss| read(loss)[0]);
            let total = read(&loss.value)[0] + regularization_loss;
            compare(&format!("loss {step}"), &[total], &[expected], LOSS_TOLERANCE)?;
            let gradients = block_on(tape.backward(&loss.gradient)).unwrap();
            block_on(optimizer.step(gpu(), &self.layer.parameters("", &gradients))).unwrap();
        }
        let weights = block_on(self.layer.read_weights()).unwrap().map(Array::to_f64);
        assert_eq!(weights.named().len() + 1, self.expected.len());
        for (name, got) in weights.named() {
            let expected = &self.expected[&format!("weights/{name}")];
            compare(&name, got.data(), expected, WEIGHT_TOLERANCE)?;
        }
        Ok(())
    }
}

fn upload(tensor: &NamedTensor) -> Tensor {
    match &tensor.data {
        TensorData::Float(array) => block_on(Tensor::from_array(gpu(), array, tensor.dtype)).unwrap(),
        TensorData::Mask(mask) => block_on(Tensor::from_mask(gpu(), mask)).unwrap(),
    }
}

fn run_all(name: &str, at_least: usize, check: impl Fn(&Fixture) -> Result<(), String>) {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/keras-3.15.1", name].iter().collect();
    let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    let count = rows.len();
    assert!(count >= at_least, "only {count} cases");
    let mut sampler = CaseSampler::new(name);
    let rows = sampler.order(rows);
    let failures: Vec<_> = rows
        .into_iter()
        .filter(|row| sampler.should_run(row.traits()))
        .map(|row| Fixture::read(&folder, row))
        .filter_map(|case| Some(format!("{} ({}): {}", case.row.name, case.row.about, check(&case).err()?)))
        .collect();
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn gradients() {
    run_all("gradients", 55, Fixture::check_gradients);
}

#[test]
fn training_runs() {
    run_all("training", 25, Fixture::check_training);
}
