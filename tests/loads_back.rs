//! Writes files for Keras to load (`tests/keras/loads_back.py`, `cargo xtask keras`), with what it must compute.
//!
//! They go into the folder `GQA_LOADS_BACK`, or where that is not set nowhere: then this only shows that they can be
//! made. `index.json` has a row for each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::{values, weights};
use gqa::keras::{
    ModelFile, SavedCall, model_to_keras, weights_to_h5, weights_to_h5_at, weights_to_safetensors,
    write_file, write_tensors,
};
use gqa::{Array, Config, DType, DTypePolicy, FeatureWidths, Weights, reference};
use serde_json::{Value, json};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keras-3.15.1");

/// Where the files go, and the rows of the index.
struct Writer {
    folder: Option<PathBuf>,
    rows: Vec<Value>,
}

impl Writer {
    fn write(&self, name: &str, bytes: &[u8]) {
        if let Some(folder) = &self.folder {
            write_file(folder.join(name), bytes).unwrap();
        }
    }

    /// One file for Keras, what it must find in it and what its layer must compute.
    fn case(&mut self, name: &str, file: (&str, &[u8]), config: &Config, new: &Weights, row: Value) {
        let file_name = format!("{name}.{}", file.0);
        self.write(&file_name, file.1);
        self.write(&format!("{name}.json"), config.to_keras_json().to_string().as_bytes());
        let variables = weights_to_safetensors(new, None, DType::F32).unwrap();
        self.write(&format!("{name}.variables.safetensors"), &variables);

        let widths = new.widths("loads_back", config).unwrap();
        let has_key = row["key"] == true;
        let inputs = [("query", 5, widths.query), ("value", 7, widths.value), ("key", 7, widths.key)];
        let inputs: Vec<(&str, Array)> = inputs[..if has_key { 3 } else { 2 }]
            .iter()
            .zip(1..)
            .map(|(&(name, length, width), seed)| (name, values(&[2, length, width], seed)))
            .collect();
        let named = inputs.iter().map(|(name, array)| (*name, array));
        self.write(&format!("{name}.inputs.safetensors"), &write_tensors(named, DType::F32).unwrap());

        let inputs: Vec<_> = inputs.iter().map(|(_, array)| array.to_f64()).collect();
        let options = reference::CallOptions {
            key: inputs.get(2),
            use_causal_mask: row["causal"] == true,
            ..Default::default()
        };
        let called =
            reference::call(config, &new.map(Array::to_f64), &inputs[0], &inputs[1], &options).unwrap();
        let output = called.attention_output.map(|&x| x as f32);
        let expected = write_tensors([("attention_output", &output)], DType::F32).unwrap();
        self.write(&format!("{name}.expected.safetensors"), &expected);

        let newer = config.use_gate || config.sliding_window.is_some() || config.seed.is_some();
        let mut whole = json!({"name": name, "file": file_name, "dtype": config.dtype.compute_dtype().to_string(), "newer": newer});
        whole.as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
        self.rows.push(whole);
    }
}

fn made(config: &Config, widths: FeatureWidths, seed: u32) -> Weights {
    let dtype = config.dtype.variable_dtype();
    weights(config, widths, seed).map(|array| array.map(|&x| dtype.round(x)))
}

/// Every policy and every option that changes the variables or the call, as a model and as weights for one.
fn whole_models(writer: &mut Writer) {
    let config = |name: &str| Config { name: name.into(), ..Config::new(4, 6, 2) };
    let (alone, key) = (SavedCall::default(), SavedCall { key: true, ..Default::default() });
    let (same, wide) = (FeatureWidths::all(11), FeatureWidths { query: 11, key: 5, value: 11 });
    let mut cases: Vec<_> = DTypePolicy::ALL
        .map(|dtype| (Config { dtype, ..config(dtype.name()) }, same, alone))
        .into_iter()
        .collect();
    let causal = SavedCall { use_causal_mask: true, ..alone };
    cases.extend([
        (Config { use_gate: true, ..config("gate") }, same, alone),
        (Config { use_gate: true, dtype: DTypePolicy::Bfloat16, ..config("gate_bf16") }, same, alone),
        (Config { use_bias: false, ..config("no_bias") }, same, alone),
        (Config { sliding_window: Some(3), ..config("window") }, same, alone),
        (Config { dropout: 0.25, seed: Some(5), trainable: false, ..config("seeded") }, same, alone),
        (config("key"), wide, key),
        (config("causal"), same, causal),
        (config("causal_key"), wide, SavedCall { key: true, ..causal }),
        (Config { num_query_heads: 1, num_key_value_heads: 1, ..config("value") }, same, alone),
    ]);
    for (seed, (config, widths, call)) in (1..).zip(cases) {
        let new = made(&config, widths, seed);
        let row = |form| json!({"form": form, "key": call.key, "causal": call.use_causal_mask});
        let name = &config.name;
        let archive = model_to_keras(&config, &new, call).unwrap();
        writer.case(&format!("{name}.archive"), ("keras", &archive), &config, &new, row("archive"));
        let h5 = weights_to_h5(&config, &new).unwrap();
        writer.case(&format!("{name}.functional"), ("weights.h5", &h5), &config, &new, row("functional"));
    }
}

/// Layers that are elsewhere, of widths that a functional model refuses.
fn other_places(writer: &mut Writer) {
    let config = Config { name: "elsewhere".into(), ..Config::new(3, 4, 2) };
    let widths = FeatureWidths { query: 11, key: 5, value: 6 };
    let new = made(&config, widths, 50);
    for (form, path) in [("bare", ""), ("attribute", "attention"), ("block", "layers/block_1/attn")] {
        let h5 = weights_to_h5_at(path, &config, &new).unwrap();
        let row = json!({"form": form, "key": true, "causal": false});
        writer.case(form, ("weights.h5", &h5), &config, &new, row);
    }
}

/// Models of Keras with one layer's weights replaced.
fn replaced(writer: &mut Writer) {
    let mut count = 0;
    for file in ["several", "nested", "compiled", "halves"] {
        let original = format!("{FIXTURES}/{file}.keras");
        let model = ModelFile::from_bytes(std::fs::read(&original).unwrap()).unwrap();
        for (layer, seed) in model.layers().iter().zip(60..) {
            let (Ok(config), Some(widths)) = (layer.config(), layer.widths()) else { continue };
            let new = made(config, widths, seed);
            let bytes = model.replace_weights(layer, &new).unwrap();
            let name = format!("{file}.{}", layer.name().replace('/', "-"));
            let row = json!({"form": "replaced", "original": original, "layer": layer.name(),
                             "key": widths.key != widths.value, "causal": false, "newer": true});
            writer.case(&name, ("keras", &bytes), config, &new, row);
            count += 1;
        }
    }
    assert!(count >= 8, "{count} layers");
}

/// Files that differ from what Keras is told to expect: it must notice.
fn wrong(writer: &mut Writer) {
    let config = Config { name: "wrong".into(), ..Config::new(4, 6, 2) };
    let right = made(&config, FeatureWidths::all(11), 90);
    let mut swapped = right.clone();
    std::mem::swap(&mut swapped.key, &mut swapped.value);
    let mut nudged = right.clone();
    nudged.attention_output.kernel.data_mut()[7] += 0.05;
    let row = json!({"form": "archive", "key": false, "causal": false, "wrong": true});
    for (name, there) in [("wrong.swapped", swapped), ("wrong.nudged", nudged)] {
        let archive = model_to_keras(&config, &there, SavedCall::default()).unwrap();
        writer.case(name, ("keras", &archive), &config, &right, row.clone());
    }
    // The right variables, another call.
    let causal = SavedCall { use_causal_mask: true, ..Default::default() };
    let archive = model_to_keras(&config, &right, causal).unwrap();
    writer.case("wrong.causal", ("keras", &archive), &config, &right, row);
}

#[test]
fn files_for_keras() {
    let folder = std::env::var_os("GQA_LOADS_BACK").map(|folder| Path::new(&folder).to_path_buf());
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder).unwrap();
    }
    let mut writer = Writer { folder, rows: Vec::new() };
    whole_models(&mut writer);
    other_places(&mut writer);
    replaced(&mut writer);
    wrong(&mut writer);
    writer.write("index.json", serde_json::to_string_pretty(&writer.rows).unwrap().as_bytes());
}
