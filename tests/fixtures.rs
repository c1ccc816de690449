//! What Keras computes, on the adapter under test and on the reference: every case of `tests/fixtures/generate.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::compare::compare;
use common::sampler::CaseSampler;
use common::{gpu, read, saved_layer};
use gqa::keras::{NamedTensor, read_tensors};
use gqa::{Array, AttentionPath, CallOptions, DType, GroupedQueryAttention, Tensor, reference};
use pollster::block_on;

#[derive(serde::Deserialize)]
struct Row {
    name: String,
    model: String,
    weights: Option<String>,
    layer: String,
    causal: bool,
    scores: bool,
    dtype: String,
    about: String,
}

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/keras-{version}"))
}

fn rows(folder: &Path) -> Vec<Row> {
    serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap()
}

/// Runs one case; the errors of the GPU and of the reference against Keras.
fn run(folder: &Path, row: &Row) -> Result<(), String> {
    let (config, weights) = saved_layer(folder, &row.model, row.weights.as_deref(), &row.layer);
    assert_eq!(config.dtype.name(), row.dtype, "{}", row.name);
    let tensors = |suffix: &str| {
        let bytes = std::fs::read(folder.join(format!("{}.{suffix}.safetensors", row.name))).unwrap();
        read_tensors(&bytes).unwrap()
    };
    let (inputs, expected) = (tensors("inputs"), tensors("expected"));
    let find =
        |tensors: &[NamedTensor], name: &str| tensors.iter().find(|tensor| tensor.name == name).cloned();
    let float = |name: &str| find(&inputs, name).map(|t| (t.dtype, t.into_float().unwrap()));
    let mask = |name: &str| find(&inputs, name).map(|t| t.into_mask().unwrap());
    let expected = |name: &str| find(&expected, name).map(|t| t.into_float().unwrap().to_f64());

    let (query, value, key) = (float("query").unwrap(), float("value").unwrap(), float("key"));
    let masks = ["attention_mask", "query_mask", "value_mask", "key_mask"].map(mask);
    let tolerance = config.dtype.compute_dtype().tolerance();
    let compare_both = |who: &str, output: &[f64], scores: Option<&[f64]>| -> Result<(), String> {
        let wanted = expected("attention_output").unwrap();
        compare(&format!("{who}: attention_output"), output, wanted.data(), tolerance)?;
        let wanted = expected("attention_scores");
        assert_eq!(wanted.is_some(), row.scores);
        if let (Some(wanted), Some(scores)) = (wanted, scores) {
            compare(&format!("{who}: attention_scores"), scores, wanted.data(), tolerance)?;
        }
        Ok(())
    };

    let key_f64 = key.as_ref().map(|(_, key)| key.to_f64());
    let options = reference::CallOptions {
        key: key_f64.as_ref(),
        attention_mask: masks[0].as_ref(),
        query_mask: masks[1].as_ref(),
        value_mask: masks[2].as_ref(),
        key_mask: masks[3].as_ref(),
        use_causal_mask: row.causal,
        ..Default::default()
    };
    let (query_f64, value_f64) = (query.1.to_f64(), value.1.to_f64());
    let called =
        reference::call(&config, &weights.map(Array::to_f64), &query_f64, &value_f64, &options).unwrap();
    compare_both("reference", called.attention_output.data(), Some(called.attention_scores.data()))?;

    let tensor =
        |(dtype, array): &(DType, Array)| block_on(Tensor::from_array(gpu(), array, *dtype)).unwrap();
    let key = key.as_ref().map(tensor);
    let masks = masks.map(|mask| mask.map(|mask| block_on(Tensor::from_mask(gpu(), &mask)).unwrap()));
    let layer = block_on(GroupedQueryAttention::from_weights(gpu(), config, &weights)).unwrap();
    for (path, scores) in [(Some(AttentionPath::Fused), false), (None, false), (None, true)] {
        let options = CallOptions {
            key: key.as_ref(),
            attention_mask: masks[0].as_ref(),
            query_mask: masks[1].as_ref(),
            value_mask: masks[2].as_ref(),
            key_mask: masks[3].as_ref(),
            use_causal_mask: row.causal,
            return_attention_scores: scores,
            path,
            ..Default::default()
        };
        let called = block_on(layer.call(&tensor(&query), &tensor(&value), &options)).unwrap();
        assert_eq!(called.attention_scores.is_some(), scores);
        let scores = called.attention_scores.as_ref().map(read);
        let who = format!("adapter, {:?}", called.path);
        compare_both(&who, &read(&called.attention_output), scores.as_deref())?;
    }
    Ok(())
}

fn run_all(version: &str, at_least: usize) {
    let folder = folder(version);
    let rows = rows(&folder);
    let count = rows.len();
    assert!(count >= at_least, "only {count} cases");
    let mut sampler = CaseSampler::new(&format!("fixtures of Keras {version}"));
    let rows = sampler.order(rows);
    let failures: Vec<_> = rows
        .iter()
        .filter(|row| {
            let weights = row.weights.as_deref().and_then(|file| file.rsplit_once('.'));
            sampler.should_run([
                format!("policy {}", row.dtype),
                format!("causal {} scores {}", row.causal, row.scores),
                format!("weights in {:?}", weights.map(|(_, kind)| kind)),
            ])
        })
        .filter_map(|row| Some(format!("{} ({}): {}", row.name, row.about, run(&folder, row).err()?)))
        .collect();
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn keras_3_15_1() {
    run_all("3.15.1", 90);
}

#[test]
fn keras_3_6_0() {
    run_all("3.6.0", 50);
}
