//! `gqa train`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use gqa::keras::SavedCall;
use gqa::training::{Optimizer, mean_squared_error};
use gqa::{Array, CallOptions, Config, DType, GroupedQueryAttention, Tensor, Weights};
use indicatif::{ProgressBar, ProgressStyle};

use crate::inputs::{Inputs, Tensors};
use crate::run::open_adapter;
use crate::saving::Format;
use crate::source::{Loaded, Source, describe};
use crate::{files, interrupt, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Tensors as for `run`, and `target` in the output's shape
    #[arg(long, value_name = "IN.safetensors")]
    inputs: PathBuf,
    /// Where the trained weights go: .safetensors (`weights/query/kernel` and so on, and `loss`), .weights.h5 or .keras
    #[arg(long, value_name = "OUT")]
    output: PathBuf,
    /// How many updates
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    #[arg(long, value_enum)]
    optimizer: Which,
    /// The factor of updates [default: Keras', 0.01 for sgd, 0.001 for the others]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    learning_rate: Option<f64>,
    /// How much of each update goes into the next, for sgd
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<f64>,
    /// Nesterov's momentum, for sgd
    #[arg(long)]
    nesterov: bool,
    /// The share of each weight, times the learning rate, that each update takes away [default: Keras', 0.004 for adamw]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// Scale gradients down to this norm, that of all of them together
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    global_clipnorm: Option<f64>,
    /// Hide later keys from each query
    #[arg(long)]
    causal: bool,
    /// The seed of the dropout patterns [default: the layer's own, or 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// An adapter's name (or a part of it) or index [default: $GQA_ADAPTER, or the best there is]
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Which {
    Sgd,
    Adam,
    Adamw,
}

/// What training has come to.
struct Trained {
    weights: Weights,
    /// Of each step, taken before it.
    losses: Vec<f32>,
    /// Why it ended early, as an error.
    failure: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let format = Format::of(&args.output)?;
    let output = files::Output::new(&args.output)?;
    output.refuse([args.inputs.as_path()].into_iter())?;
    let loaded = args.source.load()?;
    let inputs = Inputs::read(&args.inputs)?;
    let target = inputs.target()?;
    let call = SavedCall { key: inputs.key.is_some(), use_causal_mask: args.causal };
    // What can't be written is better known before the work.
    format.bytes(&loaded, &loaded.weights, &[], call)?;
    let optimizer = optimizer(args);
    say!("layer     {}: {}", loaded.name, describe(&loaded.config));
    say!("inputs    {}", inputs.describe());
    interrupt::listen("the weights of the last step")?;
    let trained = pollster::block_on(train(args, &loaded, &inputs, target, optimizer))?;
    if let [first, .., last] = trained.losses[..] {
        say!("loss      {first:.6} before the first step, {last:.6} before step {}", trained.losses.len());
    }
    output.finish(&format.bytes(&loaded, &trained.weights, &trained.losses, call)?)?;
    say!("wrote     {}", args.output.display());
    match trained.failure {
        None => Ok(()),
        Some(failure) => bail!("{failure}; {} has the last good weights", args.output.display()),
    }
}

fn optimizer(args: &Args) -> Optimizer {
    let mut optimizer = match args.optimizer {
        Which::Sgd => Optimizer::sgd(),
        Which::Adam => Optimizer::adam(),
        Which::Adamw => Optimizer::adamw(),
    };
    if let Some(rate) = args.learning_rate {
        optimizer = optimizer.with_learning_rate(rate);
    }
    if let Some(momentum) = args.momentum {
        optimizer = optimizer.with_momentum(momentum);
    }
    if args.nesterov {
        optimizer = optimizer.with_nesterov(true);
    }
    if args.weight_decay.is_some() {
        optimizer = optimizer.with_weight_decay(args.weight_decay);
    }
    optimizer.with_global_clipnorm(args.global_clipnorm)
}

async fn train(
    args: &Args,
    loaded: &Loaded,
    inputs: &Inputs,
    target: &Array,
    mut optimizer: Optimizer,
) -> Result<Trained> {
    let gpu = open_adapter(args.adapter.as_deref()).await?;
    // The same arguments train the same way, so dropout never takes a seed of chance.
    let seed = args.seed.or(loaded.config.seed).unwrap_or(0);
    let config = Config { seed: Some(seed), ..loaded.config.clone() };
    let mut layer = GroupedQueryAttention::from_weights(&gpu, config, &loaded.weights).await?;
    if !layer.config().trainable {
        bail!("layer {} is not trainable: its configuration has \"trainable\": false", loaded.name);
    }
    let tensors = inputs.upload(&gpu).await?;
    let target = Tensor::from_array(&gpu, target, DType::F32).await?;
    let progress = bar(args.steps);
    let mut losses = Vec::new();
    let mut last_good = layer.copy_weights().await?;
    let mut failure = None;
    for step in 1..=args.steps {
        let (loss, next) = match advance(args, &mut layer, &mut optimizer, &tensors, &target).await {
            Ok(done) => done,
            Err(error) => return Err(error).with_context(|| format!("step {step}")),
        };
        if !loss.is_finite() {
            failure = Some(format!("the loss before step {step} is {loss}"));
            layer.set_weights(&last_good).await?;
            break;
        }
        last_good = next;
        losses.push(loss);
        progress.set_message(format!("{loss:.6}"));
        progress.inc(1);
        if interrupt::wanted() {
            break;
        }
    }
    progress.finish_and_clear();
    Ok(Trained { weights: layer.read_weights().await?, losses, failure })
}

/// One step: the loss before it, and the weights that gave that loss. A loss that is no number changes nothing.
async fn advance(
    args: &Args,
    layer: &mut GroupedQueryAttention,
    optimizer: &mut Optimizer,
    tensors: &Tensors,
    target: &Tensor,
) -> Result<(f32, Weights<Tensor>)> {
    let options = CallOptions { training: true, ..tensors.options(args.causal) };
    let (called, tape) = layer.call_with_tape(&tensors.query, &tensors.value, &options).await?;
    let error = mean_squared_error(&called.attention_output, target).await?;
    let penalty = match tape.regularization_loss() {
        Some(loss) => loss.to_vec::<f32>().await?[0],
        None => 0.0,
    };
    let gradients = tape.backward(&error.gradient).await?;
    let weights = layer.copy_weights().await?;
    let loss = error.value.to_vec::<f32>().await?[0] + penalty;
    if loss.is_finite() {
        layer.step(optimizer, &gradients).await?;
    }
    Ok((loss, weights))
}

/// A progress bar with the loss, on a terminal.
fn bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} step {pos} of {len}, loss {msg}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
