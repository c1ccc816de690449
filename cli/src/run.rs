//! `gqa run`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use gqa::keras::{FileKind, ModelFile, TensorData, read_tensors, write_tensors};
use gqa::{Array, CallOptions, Config, DType, Gpu, GroupedQueryAttention, Tensor, Weights, reference};

use crate::{files, map, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A `.keras` archive, or a configuration JSON together with --weights
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The attention layer to run, if the model has several
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// The layer's weights, as .weights.h5 or .safetensors
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Tensors `query`, `value`, and optionally `key`, `attention_mask`, `query_mask`, `value_mask`, `key_mask`
    #[arg(long, value_name = "IN.safetensors")]
    inputs: PathBuf,
    /// Where `attention_output`, and with --scores `attention_scores`, go
    #[arg(long, value_name = "OUT.safetensors")]
    output: PathBuf,
    /// Hide later keys from each query
    #[arg(long)]
    causal: bool,
    /// Write the attention probabilities too
    #[arg(long)]
    scores: bool,
    /// Draw what heads attend to
    #[arg(long)]
    map: bool,
    /// Drop probabilities, as in training
    #[arg(long)]
    training: bool,
    /// The seed of the dropout pattern
    #[arg(long, value_name = "N", requires = "training")]
    seed: Option<u64>,
    /// An adapter's name (or a part of it) or index, or `reference` for the CPU reference [default: $GQA_ADAPTER, or the
    /// best there is]
    #[arg(long, value_name = "NAME|INDEX|reference")]
    adapter: Option<String>,
    /// Run the reference too, print the largest error, and fail if it is past the tolerance of the layer's dtype
    #[arg(long)]
    check: bool,
}

/// Tensors that `run` has no use for, but that belong in files for training.
const PASSED_OVER: [&str; 2] = ["output_gradient", "target"];

pub(crate) fn run(args: &Args) -> Result<()> {
    let output = files::Output::new(&args.output)?;
    for input in [Some(&args.model), Some(&args.inputs), args.weights.as_ref()].into_iter().flatten() {
        ensure!(!output.is(input), "--output would overwrite {}, which is read", input.display());
    }
    let (name, config, weights) = load_layer(args)?;
    let inputs = files::read(&args.inputs)?;
    let inputs = Inputs::parse(&inputs).with_context(|| args.inputs.display().to_string())?;
    let on_reference = args.adapter.as_deref() == Some("reference");
    ensure!(
        !(on_reference && args.check),
        "--check compares an adapter with the reference, so it needs another --adapter than `reference`"
    );

    say!("layer     {name}: {}", describe(&config));
    say!("inputs    {}", inputs.describe());
    let result = if on_reference {
        let seed = (args.training && config.dropout > 0.0)
            .then(|| {
                args.seed
                    .or(config.dropout_seed(0))
                    .context("the reference needs --seed to drop probabilities")
            })
            .transpose()?;
        run_reference(args, &config, &weights, &inputs, seed)?
    } else {
        pollster::block_on(run_gpu(args, &config, &weights, &inputs))?
    };
    if let Some(seed) = result.dropout_seed {
        say!("dropout   {} with seed {seed}", config.dropout);
    }
    if args.check {
        check(args, &config, &weights, &inputs, &result)?;
    }
    if let (true, Some(scores)) = (args.map, &result.scores) {
        map::draw(scores, config.group_size());
    }
    let scores = result.scores.as_ref().filter(|_| args.scores).map(|scores| ("attention_scores", scores));
    let tensors = [("attention_output", &result.output)].into_iter().chain(scores);
    output.finish(&write_tensors(tensors, DType::F32)?)?;
    say!("wrote     {}", args.output.display());
    Ok(())
}

/// The layer that the arguments name: its name, configuration and weights.
fn load_layer(args: &Args) -> Result<(String, Config, Weights)> {
    let named = |path: &Path| path.display().to_string();
    let opened = ModelFile::from_bytes(files::read(&args.model)?).with_context(|| named(&args.model))?;
    let Some(weights_path) = &args.weights else {
        if opened.kind() == FileKind::Config {
            bail!("{}: a configuration has no weights, give them with --weights", named(&args.model));
        }
        let layer = opened.layer(args.layer.as_deref()).with_context(|| named(&args.model))?;
        let config = layer.config().with_context(|| named(&args.model))?.clone();
        warn_unknown(layer.unknown_keys());
        let weights = opened.weights(layer).with_context(|| named(&args.model))?;
        return Ok((layer.name().into(), config, weights));
    };
    // With weights from elsewhere, the model gives the configuration alone.
    if !matches!(opened.kind(), FileKind::Config | FileKind::Archive) {
        bail!("{}: --model takes a .keras archive or a configuration JSON", named(&args.model));
    }
    let both = || format!("{} with {}", named(weights_path), named(&args.model));
    let file = opened.with_weights(files::read(weights_path)?).with_context(both)?;
    let layer = file.layer(args.layer.as_deref()).with_context(both)?;
    warn_unknown(layer.unknown_keys());
    let weights = file.weights(layer).with_context(both)?;
    Ok((layer.name().into(), layer.config().with_context(both)?.clone(), weights))
}

fn warn_unknown(keys: &[String]) {
    if !keys.is_empty() {
        eprintln!("gqa: unknown configuration keys are ignored: {}", keys.join(", "));
    }
}

fn describe(config: &Config) -> String {
    let Config { num_query_heads: h, num_key_value_heads: hkv, head_dim: d, dtype, .. } = config;
    let mut text = format!("{h} query heads over {hkv} key/value heads of width {d}, {dtype}");
    if config.use_gate {
        text += ", gated";
    }
    if let Some(window) = config.sliding_window {
        text += &format!(", window {window}");
    }
    text
}

/// What `--inputs` has.
struct Inputs {
    query: (Array, DType),
    value: (Array, DType),
    key: Option<(Array, DType)>,
    /// attention_mask, query_mask, value_mask, key_mask
    masks: [Option<Array<bool>>; 4],
}

const FLOATS: [&str; 3] = ["query", "value", "key"];
const MASKS: [&str; 4] = ["attention_mask", "query_mask", "value_mask", "key_mask"];

impl Inputs {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let tensors = read_tensors(bytes)?;
        let found: Vec<_> = tensors.iter().map(|tensor| tensor.name.clone()).collect();
        let mut floats = [None, None, None];
        let mut masks = [None, None, None, None];
        for tensor in tensors {
            let name = tensor.name.clone();
            let position = |names: &[&str]| names.iter().position(|known| *known == name);
            if let Some(i) = position(&FLOATS) {
                let dtype = tensor.dtype;
                floats[i] = Some((tensor.into_float()?, dtype));
            } else if let Some(i) = position(&MASKS) {
                masks[i] = Some(tensor.into_mask()?);
            } else if position(&PASSED_OVER).is_none() {
                let known =
                    FLOATS.iter().chain(&MASKS).chain(&PASSED_OVER).map(|&name| name.into()).collect();
                return Err(gqa::Error::UnknownTensor { operation: "inputs", name, known }.into());
            } else if let TensorData::Mask(_) = tensor.data {
                tensor.into_float()?;
            }
        }
        let [query, value, key] = floats;
        let need = |name: &str, tensor: Option<_>| {
            tensor.ok_or(gqa::Error::MissingTensor {
                operation: "inputs",
                name: name.into(),
                found: found.clone(),
            })
        };
        Ok(Self { query: need("query", query)?, value: need("value", value)?, key, masks })
    }

    fn describe(&self) -> String {
        let mut parts =
            vec![format!("query {:?}", self.query.0.shape()), format!("value {:?}", self.value.0.shape())];
        parts.extend(self.key.as_ref().map(|(key, _)| format!("key {:?}", key.shape())));
        let masks = MASKS.iter().zip(&self.masks);
        parts.extend(masks.filter_map(|(name, mask)| Some(format!("{name} {:?}", mask.as_ref()?.shape()))));
        parts.join(", ")
    }
}

/// What a run gives, on an adapter or on the reference.
struct Outcome {
    output: Array,
    scores: Option<Array>,
    dropout_seed: Option<u64>,
}

async fn run_gpu(args: &Args, config: &Config, weights: &Weights, inputs: &Inputs) -> Result<Outcome> {
    let gpu = match &args.adapter {
        Some(wanted) => Gpu::with_adapter(wanted).await?,
        None => Gpu::from_env().await?,
    };
    // One call is not worth a search.
    gpu.set_tuning(gqa::Tuning::Off);
    let info = gpu.adapter_info();
    say!("adapter   {} ({}, {} {})", info.name, info.backend, info.driver, info.driver_info);
    let layer = GroupedQueryAttention::from_weights(&gpu, config.clone(), weights).await?;
    let query = Tensor::from_array(&gpu, &inputs.query.0, inputs.query.1).await?;
    let value = Tensor::from_array(&gpu, &inputs.value.0, inputs.value.1).await?;
    let key = match &inputs.key {
        Some((key, dtype)) => Some(Tensor::from_array(&gpu, key, *dtype).await?),
        None => None,
    };
    let mut masks = [const { None }; 4];
    for (slot, mask) in masks.iter_mut().zip(&inputs.masks) {
        if let Some(mask) = mask {
            *slot = Some(Tensor::from_mask(&gpu, mask).await?);
        }
    }
    let [attention_mask, query_mask, value_mask, key_mask] = &masks;
    let options = CallOptions {
        key: key.as_ref(),
        attention_mask: attention_mask.as_ref(),
        query_mask: query_mask.as_ref(),
        value_mask: value_mask.as_ref(),
        key_mask: key_mask.as_ref(),
        use_causal_mask: args.causal,
        return_attention_scores: args.scores || args.map,
        training: args.training,
        seed: args.seed,
        ..CallOptions::default()
    };
    let progress = spinner("running the layer");
    let start = Instant::now();
    let called = layer.call(&query, &value, &options).await?;
    let output = called.attention_output.to_array().await?;
    let time = start.elapsed();
    let scores = match &called.attention_scores {
        Some(scores) => Some(scores.to_array().await?),
        None => None,
    };
    progress.finish_and_clear();
    say!("ran in    {:.1} ms, shader compilation included", time.as_secs_f64() * 1e3);
    Ok(Outcome { output, scores, dropout_seed: called.dropout_seed })
}

fn call_reference(
    args: &Args,
    config: &Config,
    weights: &Weights,
    inputs: &Inputs,
    dropout_seed: Option<u64>,
) -> Result<reference::CallOutput> {
    let progress = spinner("running the reference");
    let [attention_mask, query_mask, value_mask, key_mask] = &inputs.masks;
    let key = inputs.key.as_ref().map(|(key, _)| key.to_f64());
    let options = reference::CallOptions {
        key: key.as_ref(),
        attention_mask: attention_mask.as_ref(),
        query_mask: query_mask.as_ref(),
        value_mask: value_mask.as_ref(),
        key_mask: key_mask.as_ref(),
        use_causal_mask: args.causal,
        dropout_seed,
        ..reference::CallOptions::default()
    };
    let weights = weights.map(Array::to_f64);
    let (query, value) = (inputs.query.0.to_f64(), inputs.value.0.to_f64());
    let called = reference::call(config, &weights, &query, &value, &options)?;
    progress.finish_and_clear();
    Ok(called)
}

fn run_reference(
    args: &Args,
    config: &Config,
    weights: &Weights,
    inputs: &Inputs,
    dropout_seed: Option<u64>,
) -> Result<Outcome> {
    say!("adapter   reference (CPU, f64)");
    let called = call_reference(args, config, weights, inputs, dropout_seed)?;
    let narrow = |array: &Array<f64>| array.map(|&x| x as f32);
    Ok(Outcome {
        output: narrow(&called.attention_output),
        scores: (args.scores || args.map).then(|| narrow(&called.attention_scores)),
        dropout_seed,
    })
}

fn check(args: &Args, config: &Config, weights: &Weights, inputs: &Inputs, result: &Outcome) -> Result<()> {
    let expected = call_reference(args, config, weights, inputs, result.dropout_seed)?;
    let tolerance = config.dtype.compute_dtype().tolerance();
    let scores =
        result.scores.as_ref().map(|scores| ("attention_scores", scores, &expected.attention_scores));
    for (name, got, expected) in
        [("attention_output", &result.output, &expected.attention_output)].into_iter().chain(scores)
    {
        let error = relative_error(got.data(), expected.data());
        say!("check     {name}: largest error {error:.1e} of the largest value (tolerance {tolerance:.0e})");
        // Written so that a NaN fails.
        if !(error <= tolerance) {
            bail!(
                "{name} is off from the reference by {error:.1e} of its largest value, past {tolerance:.0e}"
            );
        }
    }
    Ok(())
}

/// max |got − expected| / max |expected|; NaN if anything is.
fn relative_error(got: &[f32], expected: &[f64]) -> f64 {
    let scale = expected.iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let worst = got.iter().zip(expected).fold(0.0, |worst: f64, (&got, &expected)| {
        let error = (f64::from(got) - expected).abs();
        if error.is_nan() || error > worst { error } else { worst }
    });
    if scale > 0.0 { worst / scale } else { worst }
}

/// A spinner on a terminal, nothing in a pipe.
fn spinner(what: &'static str) -> indicatif::ProgressBar {
    let progress = indicatif::ProgressBar::new_spinner().with_message(what);
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}
