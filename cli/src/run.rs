//! `gqa run`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use gqa::conformance::relative_error;
use gqa::keras::write_tensors;
use gqa::{Array, CallOptions, Config, DType, Gpu, GroupedQueryAttention, Weights, reference};

use crate::inputs::Inputs;
use crate::source::{Loaded, Source, describe};
use crate::{files, map, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
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

pub(crate) fn run(args: &Args) -> Result<()> {
    let output = files::Output::new(&args.output)?;
    output.refuse(args.source.paths().chain([args.inputs.as_path()]))?;
    let Loaded { name, config, weights, .. } = args.source.load()?;
    let inputs = Inputs::read(&args.inputs)?;
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

/// What a run gives, on an adapter or on the reference.
struct Outcome {
    output: Array,
    scores: Option<Array>,
    dropout_seed: Option<u64>,
}

async fn run_gpu(args: &Args, config: &Config, weights: &Weights, inputs: &Inputs) -> Result<Outcome> {
    let gpu = open_adapter(args.adapter.as_deref()).await?;
    let layer = GroupedQueryAttention::from_weights(&gpu, config.clone(), weights).await?;
    let tensors = inputs.upload(&gpu).await?;
    let options = CallOptions {
        return_attention_scores: args.scores || args.map,
        training: args.training,
        seed: args.seed,
        ..tensors.options(args.causal)
    };
    let progress = spinner("running the layer");
    let start = Instant::now();
    let called = layer.call(&tensors.query, &tensors.value, &options).await?;
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
    let (query, value, key) = inputs.exact();
    let options = inputs.reference_options(key.as_ref(), args.causal, dropout_seed);
    let called = reference::call(config, &weights.map(Array::to_f64), &query, &value, &options)?;
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
        judge(name, relative_error(got.data(), expected.data()), tolerance)?;
    }
    Ok(())
}

/// Says how far a result is from the reference's, and fails past the tolerance.
pub(crate) fn judge(name: &str, error: f64, tolerance: f64) -> Result<()> {
    say!("check     {name}: largest error {error:.1e} of the largest value (tolerance {tolerance:.0e})");
    // Written so that a NaN fails.
    if !(error <= tolerance) {
        bail!("{name} is off from the reference by {error:.1e} of its largest value, past {tolerance:.0e}");
    }
    Ok(())
}

/// A spinner on a terminal, nothing in a pipe.
pub(crate) fn spinner(what: &'static str) -> indicatif::ProgressBar {
    let progress = indicatif::ProgressBar::new_spinner().with_message(what);
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}

/// The adapter of this name, or the best; forms are not measured, for one call is not worth a search.
pub(crate) async fn open_adapter(wanted: Option<&str>) -> Result<Gpu> {
    let gpu = match wanted {
        Some(wanted) => Gpu::with_adapter(wanted).await?,
        None => Gpu::from_env().await?,
    };
    gpu.set_tuning(gqa::Tuning::Off);
    let info = gpu.adapter_info();
    say!("adapter   {} ({}, {} {})", info.name, info.backend, info.driver, info.driver_info);
    Ok(gpu)
}
