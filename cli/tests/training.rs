//! `gqa grad` and `gqa train`: Keras' numbers, the files that they write, and how they refuse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Folder, command, error, fails, fixture, float, gqa, read, succeeds, text};
use gqa::keras::{FileKind, ModelFile, write_tensors};
use gqa::{Array, DType};
use serde_json::Value;

fn rows(folder: &str) -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(fixture(&format!("{folder}/cases.json"))).unwrap()).unwrap()
}

/// The arguments that name a case's layer and inputs.
fn source(folder: &str, row: &Value) -> Vec<String> {
    let file = |name: &str| fixture(&format!("{folder}/{name}"));
    let text = |key: &str| row[key].as_str().unwrap();
    let inputs = file(&format!("{}.inputs.safetensors", text("name")));
    let mut args = ["--model", &file(text("model")), "--layer", text("layer"), "--inputs", &inputs]
        .map(String::from)
        .to_vec();
    if let Some(weights) = row["weights"].as_str() {
        args.extend(["--weights".into(), file(weights)]);
    }
    if row["causal"] == true {
        args.push("--causal".into());
    }
    args
}

fn with<'a>(command: &'a str, source: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![command];
    args.extend(source.iter().map(String::as_str));
    args.extend(more);
    args
}

#[test]
fn gradients_of_keras_come_out_under_their_names() {
    let folder = Folder::new();
    let output = folder.path("gradients.safetensors");
    let rows = rows("gradients");
    // Of the many cases that tests of the library go through, some of each kind.
    for row in rows.iter().step_by(6) {
        let (name, source) = (row["name"].as_str().unwrap(), source("gradients", row));
        let said = succeeds(&with("grad", &source, &["--output", &output, "--check"]));
        assert!(said.contains("check     grad/query/kernel"), "{said}");
        let got = read(&output);
        let expected = read(&fixture(&format!("gradients/{name}.expected.safetensors")));
        let mut names = [&got, &expected].map(|all| {
            let mut names: Vec<_> = all.iter().map(|tensor| tensor.name.clone()).collect();
            names.sort();
            names
        });
        assert_eq!(std::mem::take(&mut names[0]), names[1], "{name}");
        let tolerance = if row["dtype"] == "float32" { 1e-4 } else { 5e-2 };
        for tensor in expected.iter().filter(|tensor| tensor.name != "grad/key/bias") {
            let (got, expected) = (float(&got, &tensor.name), float(&expected, &tensor.name));
            let nothing = expected.data().iter().all(|&x| x == 0.0);
            assert!(nothing || error(&got, &expected) <= tolerance, "{name}: {}", tensor.name);
        }
    }
}

/// The flags of the command that does what Keras did.
fn flags(row: &Value) -> Option<Vec<String>> {
    let command = row["command"].as_object()?;
    let mut args = vec!["--steps".to_owned(), row["steps"].to_string()];
    for (key, value) in command {
        let flag = format!("--{}", key.replace('_', "-"));
        match value {
            Value::Bool(true) => args.push(flag),
            Value::String(text) => args.extend([flag, text.clone()]),
            number => args.extend([flag, number.to_string()]),
        }
    }
    Some(args)
}

#[test]
fn training_gives_kerass_losses_and_weights() {
    let folder = Folder::new();
    let output = folder.path("trained.safetensors");
    let mut ran = 0;
    for row in rows("training") {
        let Some(flags) = flags(&row) else { continue };
        let (name, source) = (row["name"].as_str().unwrap(), source("training", &row));
        let mut args = with("train", &source, &["--output", &output]);
        args.extend(flags.iter().map(String::as_str));
        succeeds(&args);
        let got = read(&output);
        let expected = read(&fixture(&format!("training/{name}.expected.safetensors")));
        assert_eq!(got.len(), expected.len(), "{name}");
        for tensor in &expected {
            let tolerance = if tensor.name == "loss" { 1e-4 } else { 1e-3 };
            let error = error(&float(&got, &tensor.name), &float(&expected, &tensor.name));
            assert!(error <= tolerance, "{name}: {} is off by {error:.1e}", tensor.name);
        }
        ran += 1;
    }
    assert!(ran >= 8, "only {ran} runs have flags");
}

const RUN: [&str; 8] =
    ["--steps", "4", "--optimizer", "adam", "--learning-rate", "0.02", "--global-clipnorm", "0.5"];

#[test]
fn trained_weights_go_to_every_format_and_the_same_run_gives_the_same_bytes() {
    let folder = Folder::new();
    let row = rows("training").into_iter().find(|row| row["name"] == "sgd_momentum").unwrap();
    let source = source("training", &row);
    let train = |name: &str| {
        let output = folder.path(name);
        let mut args = with("train", &source, &["--output", &output]);
        args.extend(RUN);
        succeeds(&args);
        std::fs::read(&output).unwrap()
    };
    let tensors = train("a.safetensors");
    assert_eq!(train("b.safetensors"), tensors);
    let archive = train("a.keras");
    assert_eq!(train("b.keras"), archive);
    let weights = train("a.weights.h5");
    let from_archive = ModelFile::from_bytes(archive).unwrap();
    assert_eq!(from_archive.kind(), FileKind::Archive);
    let layer = from_archive.layer(row["layer"].as_str()).unwrap();
    let from_weights =
        ModelFile::from_bytes(std::fs::read(&source[1]).unwrap()).unwrap().with_weights(weights).unwrap();
    let tensors = gqa::keras::read_tensors(&tensors).unwrap();
    assert_eq!(float(&tensors, "loss").shape(), [4]);
    let trained = from_archive.weights(layer).unwrap();
    assert_eq!(trained, from_weights.weights(from_weights.layer(None).unwrap()).unwrap());
    for (name, array) in trained.named() {
        assert_eq!(*array, float(&tensors, &format!("weights/{name}")));
    }
    // The model that was trained runs, and nothing else is in the folder.
    let (inputs, output) = (source[5].clone(), folder.path("out.safetensors"));
    let model = folder.path("a.keras");
    succeeds(&["run", "--model", &model, "--inputs", &inputs, "--output", &output, "--causal", "--check"]);
    assert_eq!(folder.files().len(), 6);
}

#[test]
fn a_loss_that_is_no_number_stops_at_its_step_with_the_last_good_weights() {
    let folder = Folder::new();
    let row = rows("training").into_iter().find(|row| row["name"] == "sgd_momentum").unwrap();
    let (source, output) = (source("training", &row), folder.path("out.safetensors"));
    let run = ["--optimizer", "sgd", "--learning-rate", "1e6", "--steps", "9"];
    let mut args = with("train", &source, &["--output", &output]);
    args.extend(run);
    fails(&args, &["loss before step", "NaN", "last good weights"]);
    let tensors = read(&output);
    let loss = float(&tensors, "loss");
    assert!(!loss.data().is_empty() && loss.data().iter().all(|x| x.is_finite()));
    assert!(float(&tensors, "weights/query/kernel").data().iter().all(|x| x.is_finite()));
}

#[test]
fn ctrl_c_stops_after_the_step_and_saves() {
    if !cfg!(unix) {
        return;
    }
    let folder = Folder::new();
    let row = rows("training").into_iter().find(|row| row["name"] == "sgd_momentum").unwrap();
    let (source, output) = (source("training", &row), folder.path("out.safetensors"));
    let run = ["--optimizer", "sgd", "--steps", "100000000"];
    let mut args = with("train", &source, &["--output", &output]);
    args.extend(run);
    let stdout = std::process::Stdio::piped();
    let mut child = command(&args).stdout(stdout).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It has begun once it has named its adapter.
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("adapter") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it ended");
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("keeping the weights of the last step"));
    assert!(float(&read(&output), "loss").shape()[0] > 0);
}

#[test]
fn mistakes_get_one_readable_sentence_and_leave_no_file() {
    let folder = Folder::new();
    let row = rows("training").into_iter().find(|row| row["name"] == "adam").unwrap();
    let (source, output) = (source("training", &row), folder.path("out.safetensors"));
    let with_inputs = |inputs: &str| {
        let mut source = source.clone();
        source[5] = inputs.into();
        source
    };
    let ones = |shape: &[usize]| Array::from_fn(shape, |_| 1.0f32);
    let inputs = |name: &str, more: &[(&str, Array)]| {
        let tensors = read(&source[5]);
        let (query, value) = (float(&tensors, "query"), float(&tensors, "value"));
        let all = [("query", &query), ("value", &value)];
        let more = more.iter().map(|(name, array)| (*name, array));
        folder.write(name, write_tensors(all.into_iter().chain(more), DType::F32).unwrap())
    };
    let bare = with_inputs(&inputs("bare.safetensors", &[]));
    let wrong = with_inputs(&inputs(
        "wrong.safetensors",
        &[("target", ones(&[1, 2, 3])), ("output_gradient", ones(&[4]))],
    ));
    let before = folder.files().len();
    let grad = |source: &[String], parts: &[&str]| {
        fails(&with("grad", source, &["--output", &output]), parts);
    };
    let train = |source: &[String], more: &[&str], parts: &[&str]| {
        let mut args = with("train", source, &["--output", &output, "--steps", "2"]);
        args.extend(more.iter().copied());
        fails(&args, parts);
    };
    grad(&bare, &["`output_gradient` is missing", "query"]);
    grad(&wrong, &["`output_gradient`", "[4]"]);
    train(&bare, &["--optimizer", "sgd"], &["`target` is missing"]);
    train(&wrong, &["--optimizer", "sgd"], &["`target`", "[1, 2, 3]"]);
    for (flag, value) in [("--learning-rate", "-0.1"), ("--weight-decay", "-1"), ("--global-clipnorm", "NaN")]
    {
        let name = flag.trim_start_matches('-').replace('-', "_");
        train(&source, &["--optimizer", "adam", flag, value], &[&name, value]);
    }
    train(&source, &["--optimizer", "sgd", "--momentum", "-1"], &["momentum", "-1"]);
    train(&source, &["--optimizer", "adam", "--momentum", "0.9"], &["momentum", "Adam"]);
    let other = folder.path("out.txt");
    let mut args = with("train", &source, &["--output", &other, "--steps", "2"]);
    args.extend(["--optimizer", "sgd"]);
    fails(&args, &[".safetensors", ".weights.h5", ".keras"]);
    assert!(!gqa(&with("train", &source, &["--output", &output, "--optimizer", "sgd"])).status.success());
    assert_eq!(folder.files().len(), before);
    // What a crash left of an output is replaced whole.
    folder.write("out.safetensors", "half of a fi");
    succeeds(&with("train", &source, &["--output", &output, "--optimizer", "sgd", "--steps", "1"]));
    assert_eq!(float(&read(&output), "loss").shape(), [1]);
}
