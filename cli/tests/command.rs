//! The command as a person uses it: what it prints, what it writes, and how it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::PathBuf;
use std::process::Output;

use common::{Folder, command, error, fails, fixture, float, gqa, read, succeeds};

use gqa::keras::write_tensors;
use gqa::{Array, DType};

/// The command with its standard output going to a file.
fn gqa_to(path: &str, args: &[&str]) -> Output {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    command(args).stdout(file).output().unwrap()
}

#[test]
fn adapters_are_listed_with_what_matters() {
    let text = succeeds(&["adapters"]);
    for word in ["0: ", "backend", "driver", "kind", "limits", "storage buffers", "features"] {
        assert!(text.contains(word), "no `{word}` in:\n{text}");
    }
}

#[test]
fn an_adapter_is_checked_case_by_case() {
    let text = succeeds(&["check"]);
    let passed = text.lines().filter(|line| line.starts_with("passed")).count();
    assert_eq!(passed, gqa::conformance::checks().len(), "{text}");
    assert!(text.ends_with(&format!("all {passed} checks passed\n")), "{text}");
}

#[test]
fn every_case_of_keras_runs_from_its_files_and_passes_its_check() {
    let folder = Folder::new();
    let rows: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("cases.json")).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    // Every ninth, and all that are not archives: the library's tests run every one.
    for (i, row) in rows.iter().enumerate() {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        if i % 9 != 0 && row["weights"].is_null() {
            continue;
        }
        let (model, inputs) =
            (fixture(&text("model")), fixture(&format!("{}.inputs.safetensors", text("name"))));
        let (layer, output) = (text("layer"), folder.path("out.safetensors"));
        let mut args =
            vec!["run", "--model", &model, "--layer", &layer, "--inputs", &inputs, "--output", &output];
        args.push("--check");
        let weights = row["weights"].as_str().map(fixture);
        if let Some(weights) = &weights {
            args.extend(["--weights", weights]);
        }
        args.extend(row["causal"].as_bool().unwrap().then_some("--causal"));
        let scores = row["scores"].as_bool().unwrap();
        args.extend(scores.then_some("--scores"));
        let said = succeeds(&args);
        assert!(said.contains("check     attention_output: largest error"), "{said}");
        let expected = read(&fixture(&format!("{}.expected.safetensors", text("name"))));
        let got = read(&output);
        assert!(got.iter().all(|tensor| tensor.dtype == DType::F32));
        assert_eq!(got.len(), expected.len());
        let tolerance = match text("tolerance").as_str() {
            "float32" => 1e-5,
            "float16" => 4e-3,
            _ => 2e-2,
        };
        for tensor in &expected {
            let error = error(&float(&got, &tensor.name), &tensor.clone().into_float().unwrap());
            assert!(error <= tolerance, "{}: {} is off by {error}", text("name"), tensor.name);
        }
        kinds.insert((text("model").ends_with(".keras"), weights.map(|path| path.ends_with(".h5"))));
    }
    assert_eq!(kinds.len(), 3, "archives, .weights.h5 and safetensors");
}

#[test]
fn the_reference_is_an_adapter_too_and_training_repeats_by_seed() {
    let folder = Folder::new();
    let query = Array::from_fn([1, 6, 8], |i| (i as f32).sin());
    let inputs = folder
        .write("in.safetensors", write_tensors([("query", &query), ("value", &query)], DType::F32).unwrap());
    let config = gqa::Config { dropout: 0.5, ..gqa::Config::new(4, 4, 2) };
    let weights = gqa::Weights::initialize(&config, gqa::FeatureWidths::all(8), 1).unwrap();
    let weights = gqa::keras::weights_to_safetensors(&weights, None, DType::F32).unwrap();
    let weights = folder.write("layer.safetensors", &weights);
    let config = folder.write("layer.json", config.to_keras_json().to_string().as_bytes());
    let run = |extra: &[&str]| {
        let output = folder.path("out.safetensors");
        let mut args =
            vec!["run", "--model", &config, "--weights", &weights, "--inputs", &inputs, "--output", &output];
        args.extend(extra);
        succeeds(&args);
        float(&read(&output), "attention_output")
    };
    let plain = run(&["--check"]);
    let seven = run(&["--training", "--seed", "7", "--check"]);
    assert!(error(&plain, &seven) > 0.01);
    assert_eq!(run(&["--training", "--seed", "7"]), seven);
    assert!(error(&run(&["--training", "--seed", "8", "--check"]), &seven) > 0.01);
    assert!(error(&run(&["--adapter", "reference"]), &plain) < 1e-5);
    assert!(error(&run(&["--adapter", "reference", "--training", "--seed", "7"]), &seven) < 1e-5);
    run(&["--training", "--check"]);
    let seeded = gqa::Config { dropout: 0.5, seed: Some(11), ..gqa::Config::new(4, 4, 2) };
    let seeded = folder.write("seeded.json", seeded.to_keras_json().to_string().as_bytes());
    let both = ["0", "reference"].map(|adapter| {
        let output = folder.path("out.safetensors");
        let files =
            ["run", "--model", &seeded, "--weights", &weights, "--inputs", &inputs, "--output", &output];
        succeeds(&[&files[..], &["--training", "--adapter", adapter]].concat());
        float(&read(&output), "attention_output")
    });
    assert!(error(&both[0], &both[1]) < 1e-5, "the layer's own seed drops the same on both");
    let args = [
        "run",
        "--model",
        &config,
        "--weights",
        &weights,
        "--inputs",
        &inputs,
        "--output",
        "x",
        "--seed",
        "7",
    ];
    let refused = gqa(&args);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--training"));
}

#[test]
fn inspect_lists_layers_configurations_and_shapes() {
    let text = succeeds(&["inspect", &fixture("several.keras")]);
    for part in [
        "Keras archive, written by Keras 3.15.1",
        "encoder_attention",
        "cross_attention",
        "query/kernel",
        "heads",
        "dtype",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let text = succeeds(&["inspect", &fixture("blocks.weights.h5")]);
    assert!(text.contains("HDF5") && text.contains("query/kernel"), "{text}");
    let text = succeeds(&["inspect", &fixture("odd.safetensors")]);
    assert!(text.contains("safetensors") && text.contains("attention_output/kernel"), "{text}");
    let text = succeeds(&["inspect", &fixture("odd.json")]);
    assert!(text.contains("configuration") && text.contains("heads"), "{text}");
}

#[test]
fn weights_from_another_file_keep_the_names_of_nested_layers() {
    let folder = Folder::new();
    let (model, inputs) = (fixture("nested.keras"), fixture("nested_deep.inputs.safetensors"));
    let listed = succeeds(&["inspect", &model]);
    let name = listed.lines().find(|line| line.ends_with("deep_attention")).unwrap();
    assert!(name.contains('/'), "{name}");
    let run = |extra: &[&str]| {
        let output = folder.path("out.safetensors");
        let args =
            ["run", "--model", &model, "--layer", name, "--inputs", &inputs, "--output", &output, "--causal"];
        succeeds(&[&args[..], extra].concat());
        float(&read(&output), "attention_output")
    };
    assert_eq!(run(&["--weights", &model]), run(&[]));
}

#[test]
fn mistakes_get_one_readable_sentence_and_leave_no_file() {
    let folder = Folder::new();
    let model = fixture("several.keras");
    let inputs = fixture("self.inputs.safetensors");
    let output = folder.path("out.safetensors");
    let run = |extra: &[&str], parts: &[&str]| {
        let mut args = vec!["run"];
        let given = |name: &str| extra.contains(&name);
        for (name, value) in [("--model", &model), ("--inputs", &inputs), ("--output", &output)] {
            if !given(name) {
                args.extend([name, value]);
            }
        }
        args.extend(extra);
        fails(&args, parts);
    };
    run(&[], &["several.keras", "encoder_attention", "cross_attention"]);
    run(
        &["--layer", "no_such"],
        &["no_such", "encoder_attention", "cross_attention", "grouped_query_attention_1"],
    );
    run(&["--model", "no/such.keras"], &["can't read no/such.keras"]);

    let plain = fixture("plain.keras");
    let one = ["--model", plain.as_str()];
    let with = |extra: &[&str], parts: &[&str]| run(&[&one[..], extra].concat(), parts);
    with(&["--inputs", "no/such"], &["can't read no/such"]);
    with(&["--adapter", "no such adapter"], &["no adapter matches `no such adapter`", "0: "]);
    with(&["--adapter", "reference", "--check"], &["--check", "reference"]);
    with(&["--output", "no/such/folder/out"], &["can't write no/such/folder/out"]);
    with(&["--output", &folder.0.path().display().to_string()], &["can't write", "folder"]);

    let x = Array::from_fn([2, 5, 11], |i| i as f32 * 0.01);
    let tensors = |names: &[(&str, &Array)]| write_tensors(names.iter().copied(), DType::F32).unwrap();
    let bad = |name: &str, bytes: &[u8], parts: &[&str]| {
        let path = folder.write(name, bytes);
        with(&["--inputs", &path], parts);
        std::fs::remove_file(path).unwrap();
    };
    bad(
        "typo",
        &tensors(&[("query", &x), ("value", &x), ("keey", &x)]),
        &["unknown tensor `keey`", "`key`", "`query_mask`"],
    );
    bad("missing", &tensors(&[("query", &x)]), &["`value` is missing", "`query`"]);
    bad(
        "float_mask",
        &tensors(&[("query", &x), ("value", &x), ("value_mask", &x)]),
        &["value_mask", "BOOL or U8", "f32"],
    );
    let narrow = Array::from_fn([2, 5, 10], |i| i as f32);
    bad("narrow", &tensors(&[("query", &narrow), ("value", &x)]), &["query", "width 11", "[2, 5, 10]"]);
    let long = Array::from_fn([3, 5, 11], |i| i as f32);
    bad("batch", &tensors(&[("query", &x), ("value", &long)]), &["value", "batch size 2", "[3, 5, 11]"]);
    bad("text", b"not a safetensors file", &["safetensors"]);
    let whole = tensors(&[("query", &x), ("value", &x)]);
    bad("cut", &whole[..whole.len() - 7], &["safetensors"]);

    bad("escape", &tensors(&[("query", &x), ("\u{1b}[31m\n", &x)]), &["unknown tensor `\\u{1b}[31m\\n`"]);
    let precious = folder.write("precious.keras", std::fs::read(&plain).unwrap());
    run(&["--model", &precious, "--output", &precious], &["--output would overwrite", "precious.keras"]);
    assert_eq!(std::fs::read(&precious).unwrap(), std::fs::read(&plain).unwrap());
    std::fs::remove_file(precious).unwrap();

    let archive = std::fs::read(&plain).unwrap();
    for length in [0, 10, archive.len() / 2, archive.len() - 30] {
        let cut = folder.write("cut.keras", &archive[..length]);
        run(&["--model", &cut], &["cut.keras"]);
        fails(&["inspect", &cut], &["cut.keras"]);
        std::fs::remove_file(cut).unwrap();
    }
    run(&["--model", &fixture("odd.json")], &["odd.json", "--weights"]);
    run(&["--model", &fixture("odd.safetensors")], &["odd.safetensors"]);
    run(
        &["--model", &fixture("odd.json"), "--weights", &fixture("plain.keras"), "--layer", "x"],
        &["plain.keras"],
    );
    assert_eq!(folder.files(), Vec::<PathBuf>::new(), "something was left behind");
}

#[cfg(target_os = "linux")]
#[test]
fn a_machine_without_an_adapter_is_told_what_to_do() {
    let folder = Folder::new();
    let (model, inputs) = (fixture("demo.keras"), fixture("demo.inputs.safetensors"));
    let output = folder.path("out.safetensors");
    let run = ["run", "--model", &model, "--inputs", &inputs, "--output", &output];
    for args in [&["adapters"][..], &run] {
        // No driver of Linux speaks Metal.
        let output = command(args).env("WGPU_BACKEND", "metal").env_remove("GQA_ADAPTER").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(
            error.contains("gqa: no GPU adapter was found") && error.contains("mesa-vulkan-drivers"),
            "{error}"
        );
    }
    assert_eq!(folder.files(), Vec::<PathBuf>::new());
    succeeds(&[&run[..], &["--adapter", "reference"]].concat());
}

#[test]
fn tensors_for_training_are_passed_over_and_an_old_output_is_replaced_whole() {
    let folder = Folder::new();
    let x = Array::from_fn([2, 5, 11], |i| (i as f32 * 0.3).cos());
    let names = [("query", &x), ("value", &x), ("output_gradient", &x), ("target", &x)];
    let inputs = folder.write("in.safetensors", write_tensors(names, DType::F32).unwrap());
    let output = folder.write("out.safetensors", [1; 100_000]);
    let model = fixture("plain.keras");
    let args = ["run", "--model", &model, "--inputs", &inputs, "--output", &output, "--check", "--map"];
    let said = succeeds(&args);
    assert!(said.contains("head 0") && said.contains('█'), "{said}");
    assert_eq!(read(&output).len(), 1, "--map alone writes no scores");

    // A link stays a link, and what is no file is written to and not replaced.
    #[cfg(unix)]
    {
        let full = gqa_to("/dev/full", &["run", "--model", &model, "--inputs", &inputs, "--output", &output]);
        assert!(!full.status.success() && float(&read(&output), "attention_output").shape() == [2, 5, 11]);
        let link = folder.path("link");
        std::os::unix::fs::symlink(&output, &link).unwrap();
        succeeds(&["run", "--model", &model, "--inputs", &inputs, "--output", &link]);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        succeeds(&["run", "--model", &model, "--inputs", &inputs, "--output", "/dev/null"]);
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        std::fs::remove_file(link).unwrap();
    }
    assert_eq!(float(&read(&output), "attention_output").shape(), [2, 5, 11]);
    assert_eq!(folder.files().len(), 2);
}
