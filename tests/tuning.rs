//! Choice by measurement, and what becomes of it in later processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Case, OnGpu, read, upload};
use gqa::{CallOptions, ChoiceSource, Config, Gpu, Tuning};
use pollster::block_on;

fn case() -> Case {
    Case::new(Config::new(16, 4, 2), 20, [1, 40, 70])
}

#[test]
fn without_tuning_the_table_decides_and_says_so() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    gpu.set_tuning(Tuning::Off);
    let (case, options) = (case(), CallOptions::default());
    let (layer, inputs) = (case.layer(&gpu), upload(&gpu, &case, &case.data()));
    assert!(gpu.choices().is_empty());
    let output = block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
    let choices = gpu.choices();
    assert!(choices.iter().all(|choice| choice.source == ChoiceSource::Default), "{choices:?}");
    let attention = choices.iter().find(|choice| choice.class.starts_with("attention_forward")).unwrap();
    assert_eq!(Some(attention.form), output.attention_form);
    assert_eq!(attention.class, "attention_forward f32 f32 f32 D16 rows128 S128 heads2");
    assert!(choices.iter().any(|choice| choice.class == "linear f32 f32 M64 K32 N64"), "{choices:?}");
}

#[test]
fn a_form_can_be_fixed_and_every_one_gives_the_same_numbers() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    gpu.set_tuning(Tuning::Off);
    let (case, options) = (case(), CallOptions::default());
    let (layer, inputs) = (case.layer(&gpu), upload(&gpu, &case, &case.data()));
    // The output, and a gradient that all others go into.
    let call = || -> gqa::Result<[Vec<f64>; 2]> {
        let (called, tape) = block_on(layer.call_with_tape(&inputs.query, &inputs.value, &options))?;
        let gradients = block_on(tape.backward(&called.attention_output))?;
        Ok([read(&called.attention_output), read(&gradients.query)])
    };
    let expected = call().unwrap();
    let default = gpu.choices();
    let mut ran = 0;
    for (kernel, names) in gqa::forms() {
        for name in names.iter().step_by(2) {
            if gpu.fix_form(kernel, Some(name)).is_err() {
                continue;
            }
            // A form that the heads don't fit is refused, not replaced.
            if let Ok(output) = call() {
                let choices = gpu.choices();
                let fixed = choices.iter().find(|choice| choice.class.starts_with(kernel)).unwrap();
                assert_eq!((fixed.form, &fixed.source), (*name, &ChoiceSource::Fixed));
                for (output, expected) in output.iter().zip(&expected) {
                    common::compare::compare(name, output, expected, 1e-5).unwrap();
                }
                ran += 1;
            }
        }
        gpu.fix_form(kernel, None).unwrap();
    }
    assert!(ran > 12, "only {ran} forms");
    call().unwrap();
    assert_eq!(gpu.choices(), default);
    let refused = gpu.fix_form("linear", Some("nonsense")).unwrap_err().to_string();
    assert!(refused.contains("`form`") && refused.contains("nonsense"), "{refused}");
    assert!(gpu.fix_form("softmax", None).unwrap_err().to_string().contains("`kernel`"));
}

/// Not a test of its own: what the processes run that the test below starts.
#[test]
fn process() {
    if std::env::var_os("GQA_TEST_PROCESS").is_none() {
        return;
    }
    let gpu = block_on(Gpu::from_env()).unwrap();
    gpu.set_tuning(Tuning::On);
    let case = case();
    let data = case.data();
    let layer = case.layer(&gpu);
    let inputs = upload(&gpu, &case, &data);
    let options = CallOptions { use_causal_mask: true, ..Default::default() };
    let output = block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
    let buffers = gpu.usage().dispatches;
    let again = block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
    assert!(gpu.usage().dispatches - buffers < 10, "the second call measured again");
    assert_eq!(read(&output.attention_output), read(&again.attention_output));
    for choice in gpu.choices() {
        let how = match &choice.source {
            ChoiceSource::Measured { candidates, seconds } => {
                assert!(candidates.len() > 1 && candidates[0].0 == choice.form);
                assert!(candidates.windows(2).all(|pair| pair[0].1 <= pair[1].1));
                // Ten on a machine that does nothing else.
                assert!(*seconds < 30.0, "{seconds} s for {}", choice.class);
                "measured"
            }
            ChoiceSource::Remembered => "remembered",
            ChoiceSource::Default | ChoiceSource::Fixed => "default",
        };
        println!("choice {} = {} {how}", choice.class, choice.form);
    }
    println!("problem {}", gpu.choices_problem().unwrap_or_default());
}

/// The lines of a process that runs [`process`] with this cache folder.
fn run(folder: &Path) -> (Vec<String>, String) {
    // By what runs this test: a loader of other libraries, if cargo was told of one.
    let runner = std::env::var("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER").unwrap_or_default();
    let itself = std::env::args().next().unwrap();
    let mut words = runner.split_whitespace().chain([itself.as_str()]);
    let output = Command::new(words.next().unwrap())
        .args(words)
        .args(["--exact", "process", "--nocapture", "--test-threads=1"])
        .env("GQA_TEST_PROCESS", "1")
        .env("GQA_CACHE_DIR", folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // The test runner may print before the first of them on its line.
    let lines = |word: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line[line.find(word)?..].to_string())).collect()
    };
    (lines("choice "), lines("problem ").remove(0))
}

#[test]
fn a_later_process_remembers_and_trouble_with_the_file_is_told_not_fatal() {
    let folder = std::env::temp_dir().join(format!("gqa-tuning-{}", std::process::id()));
    let file = folder.join("choices.json");
    let (first, problem) = run(&folder);
    assert!(!first.is_empty() && first.iter().all(|line| line.ends_with(" measured")), "{first:?}");
    assert_eq!(problem, "problem ");
    let (second, problem) = run(&folder);
    let remembered: Vec<_> = first.iter().map(|line| line.replace(" measured", " remembered")).collect();
    assert_eq!(second, remembered);
    assert_eq!(problem, "problem ");

    // A damaged file is replaced, a form that nobody knows measured again.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    let (damaged, problem) = run(&folder);
    assert!(damaged.iter().all(|line| line.ends_with(" measured")), "{damaged:?}");
    assert!(problem.contains("damaged"), "{problem}");
    assert!(serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&file).unwrap()).is_ok());
    fs::write(&file, text.replace("direct", "unheard of").replace("staged", "unheard of")).unwrap();
    assert!(run(&folder).0.iter().all(|line| line.ends_with(" measured")));
    fs::remove_dir_all(&folder).unwrap();

    // A folder that can't be one.
    fs::write(&folder, "").unwrap();
    let (unwritable, problem) = run(&folder);
    assert!(unwritable.iter().all(|line| line.ends_with(" measured")), "{unwritable:?}");
    assert!(problem.contains("can't"), "{problem}");
    fs::remove_file(&folder).unwrap();
}
