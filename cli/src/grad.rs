//! `gqa grad`.

use std::path::PathBuf;

use anyhow::Result;
use gqa::conformance::relative_error;
use gqa::keras::write_tensors;
use gqa::{Array, CallOptions, DType, GroupedQueryAttention, Tensor, reference};

use crate::inputs::Inputs;
use crate::run::{judge, open_adapter, spinner};
use crate::source::{Loaded, Source, describe};
use crate::{files, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Tensors as for `run`, and `output_gradient` in the output's shape
    #[arg(long, value_name = "IN.safetensors")]
    inputs: PathBuf,
    /// Where the gradients go: `grad/query/kernel` and so on for the weights; `grad/query`, `grad/value`, and `grad/key` if
    /// key was given; and `regularization_loss`
    #[arg(long, value_name = "OUT.safetensors")]
    output: PathBuf,
    /// Hide later keys from each query
    #[arg(long)]
    causal: bool,
    /// Drop probabilities, as in training
    #[arg(long)]
    training: bool,
    /// The seed of the dropout pattern
    #[arg(long, value_name = "N", requires = "training")]
    seed: Option<u64>,
    /// An adapter's name (or a part of it) or index [default: $GQA_ADAPTER, or the best there is]
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
    /// Compute them with the reference too, print the largest error of each, and fail if one is past 1e-4 (more for half
    /// types)
    #[arg(long)]
    check: bool,
}

/// Gradients by the names that they have in files, and the regularization loss as the last.
type Named = Vec<(String, Array)>;

pub(crate) fn run(args: &Args) -> Result<()> {
    let output = files::Output::new(&args.output)?;
    output.refuse(args.source.paths().chain([args.inputs.as_path()]))?;
    let loaded = args.source.load()?;
    let inputs = Inputs::read(&args.inputs)?;
    let output_gradient = inputs.output_gradient()?;
    say!("layer     {}: {}", loaded.name, describe(&loaded.config));
    say!("inputs    {}", inputs.describe());
    let (gradients, dropout_seed) = pollster::block_on(on_gpu(args, &loaded, &inputs, output_gradient))?;
    if let Some(seed) = dropout_seed {
        say!("dropout   {} with seed {seed}", loaded.config.dropout);
    }
    if args.check {
        check(args, &loaded, &inputs, output_gradient, dropout_seed, &gradients)?;
    }
    let tensors = gradients.iter().map(|(name, array)| (name.as_str(), array));
    output.finish(&write_tensors(tensors, DType::F32)?)?;
    say!("wrote     {}", args.output.display());
    Ok(())
}

async fn on_gpu(
    args: &Args,
    loaded: &Loaded,
    inputs: &Inputs,
    output_gradient: &Array,
) -> Result<(Named, Option<u64>)> {
    let gpu = open_adapter(args.adapter.as_deref()).await?;
    let layer = GroupedQueryAttention::from_weights(&gpu, loaded.config.clone(), &loaded.weights).await?;
    let tensors = inputs.upload(&gpu).await?;
    let d_output = Tensor::from_array(&gpu, output_gradient, DType::F32).await?;
    let options = CallOptions { training: args.training, seed: args.seed, ..tensors.options(args.causal) };
    let progress = spinner("computing gradients");
    let (called, tape) = layer.call_with_tape(&tensors.query, &tensors.value, &options).await?;
    let loss = match tape.regularization_loss() {
        Some(loss) => loss.to_array().await?,
        None => Array::new([1], [0.0])?,
    };
    let gradients = tape.backward(&d_output).await?;
    let mut named = Vec::new();
    for (name, gradient) in gradients.weights.named() {
        named.push((format!("grad/{name}"), gradient.to_array().await?));
    }
    let of_inputs = [
        ("query", Some(&gradients.query)),
        ("value", Some(&gradients.value)),
        ("key", gradients.key.as_ref()),
    ];
    for (name, gradient) in of_inputs {
        if let Some(gradient) = gradient {
            named.push((format!("grad/{name}"), gradient.to_array().await?));
        }
    }
    named.push(("regularization_loss".into(), loss));
    progress.finish_and_clear();
    Ok((named, called.dropout_seed))
}

fn check(
    args: &Args,
    loaded: &Loaded,
    inputs: &Inputs,
    output_gradient: &Array,
    dropout_seed: Option<u64>,
    got: &Named,
) -> Result<()> {
    let progress = spinner("running the reference");
    let (query, value, key) = inputs.exact();
    let options = inputs.reference_options(key.as_ref(), args.causal, dropout_seed);
    let (config, weights) = (&loaded.config, loaded.weights.map(Array::to_f64));
    let called = reference::call(config, &weights, &query, &value, &options)?;
    let d_output = output_gradient.to_f64();
    let gradients = reference::backward(config, &weights, &query, &value, &options, &d_output)?;
    progress.finish_and_clear();
    let mut expected: Vec<_> = gradients.weights.named().into_iter().map(|(_, gradient)| gradient).collect();
    expected.extend([&gradients.query, &gradients.value]);
    expected.extend(&gradients.key);
    let loss = Array::new([1], [called.regularization_loss])?;
    expected.push(&loss);
    let tolerance = config.dtype.compute_dtype().tolerance().max(1e-4);
    // What is 0 but for rounding, as the gradient of the key's bias, is measured by the others.
    let largest = |array: &Array<f64>| array.data().iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let scale = expected.iter().map(|array| largest(array)).fold(0.0, f64::max);
    for ((name, got), expected) in got.iter().zip(expected) {
        let mut error = relative_error(got.data(), expected.data());
        if largest(expected) < 1e-9 * scale {
            error *= largest(expected).max(f64::MIN_POSITIVE) / scale;
        }
        judge(name, error, tolerance)?;
    }
    Ok(())
}
