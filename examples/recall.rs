//! Two layers learn a task that takes attention: associative recall.
//!
//!     cargo run --release --example recall -- [--steps N] [--seed N] [--checkpoint FILE]
//!
//! A sequence tells the partners of eight letters, then asks for them in another order. Partners are drawn anew for every
//! sequence: there are no answers to be learned, only how to look them up.
//!
//! ```text
//! told    b k  f a  c c  …      eight pairs of 16 letters; the first of each differ, their partners are any
//! asked   c b f …               the first of each again, shuffled
//! answer  c k a …
//! ```
//!
//! The model is an induction head, the smallest that can do it: two causal layers of grouped heads, with a residual sum
//! between them.
//!
//! ```text
//! x      = one-hot letter ++ sines and cosines of the position      [B,T,C]
//! hidden = x + first(x)             learns: which letter stands before this one?
//! scores = second(hidden)[..16]     learns: which letter stands behind the one that is asked for?
//! loss   = the mean of −ln softmax(scores)[answer] over all questions
//!
//! d_scores = (softmax(scores) − one-hot answer) / questions
//! d_hidden = second's d_query + second's d_value      hidden is both
//! d_first  = d_hidden                                 a sum hands its gradient on to each term
//! ```
//!
//! Layers, their gradients and the optimizer are the library's. Embedding, sum and loss are the program's own, here on the
//! host, which is shortest; a program in a hurry has kernels for them on the same device.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gqa::keras::{NamedTensor, read_tensors, write_tensors};
use gqa::training::Optimizer;
use gqa::{
    CallOptions, CallOutput, Config, DType, FeatureWidths, Gpu, GroupedQueryAttention, Result, Tensor,
    Tuning, Weights,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const LETTERS: usize = 16;
const PAIRS: usize = 8;
/// How many sines and how many cosines tell the position.
const WAVES: usize = 8;
/// The accuracy on held-out sequences that makes a run a success.
const TARGET: f64 = 0.95;

/// Sequences of a training step.
const B: usize = 32;
/// Pairs, then questions.
const T: usize = 2 * PAIRS + PAIRS;
/// Letters, waves, and 16 channels free for what the first layer finds.
const C: usize = LETTERS + 2 * WAVES + 16;
/// Query heads of each layer.
const H: usize = 4;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse()?;
    let accuracy = pollster::block_on(run(&arguments))?;
    if !(accuracy >= TARGET) {
        return Err(format!("{:.1} % right, less than {:.0} %", 100.0 * accuracy, 100.0 * TARGET).into());
    }
    Ok(())
}

/// Trains, saves, loads and compares. Gives the accuracy on held-out sequences.
async fn run(arguments: &Arguments) -> std::result::Result<f64, Box<dyn std::error::Error>> {
    let gpu = Gpu::from_env().await?;
    // The forms that a measurement prefers may round differently next time; a seed shall always give the same run.
    gpu.set_tuning(Tuning::Off);
    println!("{} steps of {B} sequences, seed {}, on {gpu:?}", arguments.steps, arguments.seed);

    let mut rng = ChaCha8Rng::seed_from_u64(arguments.seed);
    let held_out: Vec<_> = (0..256).map(|_| Sequence::draw(&mut rng)).collect();
    let mut model = Model::new(&gpu, arguments.seed).await?;
    let mut optimizer = optimizer(arguments.steps);
    train(&mut model, &mut optimizer, &mut rng, &held_out, arguments.steps).await?;
    let output = model.output(&held_out).await?;
    show(&held_out[0], &output);
    let [before, answer] = model.attention(&held_out).await?.map(|share| 100.0 * share);
    println!("the first layer's best head gives {before:.0} % of its attention to the letter before,");
    println!("the second layer's gives {answer:.0} % to the answer");

    let path = arguments.checkpoint.clone().unwrap_or_else(temporary_file);
    fs::write(&path, model.save(&optimizer).await?)?;
    let (mut loaded, mut loaded_optimizer) = Model::load(&gpu, &fs::read(&path)?, arguments.steps).await?;
    println!("saved to {}, and loaded into fresh layers", path.display());
    if arguments.checkpoint.is_none() {
        fs::remove_file(&path)?;
    }

    let loaded_output = loaded.output(&held_out).await?;
    let (before, after) = (accuracy(&output, &held_out), accuracy(&loaded_output, &held_out));
    println!("right before: {:.2} %, after: {:.2} %", 100.0 * before, 100.0 * after);
    same("the loaded model's output", &output, &loaded_output)?;

    // What the optimizer knows was saved too: training goes on as if nothing had happened.
    let batch: Vec<_> = (0..B).map(|_| Sequence::draw(&mut rng)).collect();
    model.step(&mut optimizer, &batch).await?;
    loaded.step(&mut loaded_optimizer, &batch).await?;
    same("the output a step later", &model.output(&held_out).await?, &loaded.output(&held_out).await?)?;
    Ok(before)
}

/// Trains on fresh sequences, and says every second or less often how it goes.
async fn train(
    model: &mut Model,
    optimizer: &mut Optimizer,
    rng: &mut ChaCha8Rng,
    held_out: &[Sequence],
    steps: usize,
) -> Result<()> {
    println!("  step     loss   held out   seconds");
    let start = Instant::now();
    let mut told = start;
    for step in 1..=steps {
        let batch: Vec<_> = (0..B).map(|_| Sequence::draw(rng)).collect();
        let loss = model.step(optimizer, &batch).await?;
        let due = step % 20 == 0 && told.elapsed() >= Duration::from_secs(1);
        if step == 1 || due || step == steps {
            let right = 100.0 * accuracy(&model.output(held_out).await?, held_out);
            println!("{step:>6}   {loss:.4}   {right:6.1} %   {:7.1}", start.elapsed().as_secs_f64());
            told = Instant::now();
        }
    }
    Ok(())
}

/// Adam, with a learning rate that sinks to a tenth.
fn optimizer(steps: usize) -> Optimizer {
    Optimizer::adam().with_schedule(move |step| 0.01 * (1.0 - step as f64 / steps as f64).max(0.1))
}

struct Model {
    gpu: Gpu,
    first: GroupedQueryAttention,
    second: GroupedQueryAttention,
}

impl Model {
    async fn new(gpu: &Gpu, seed: u64) -> Result<Self> {
        let layer = async |seed| GroupedQueryAttention::new(gpu, config(), FeatureWidths::all(C), seed).await;
        let seed = seed.wrapping_mul(2);
        Ok(Self { gpu: gpu.clone(), first: layer(seed).await?, second: layer(seed.wrapping_add(1)).await? })
    }

    /// What both layers give, for x `[B,T,C]`.
    async fn call(&self, x: &Tensor, options: &CallOptions<'_>) -> Result<[CallOutput; 2]> {
        let first = self.first.call(x, x, options).await?;
        let hidden = add(x, &first.attention_output).await?;
        let second = self.second.call(&hidden, &hidden, options).await?;
        Ok([first, second])
    }

    /// The output `[B,T,C]`, of which the first channels are the scores of the letters.
    async fn output(&self, batch: &[Sequence]) -> Result<Vec<f32>> {
        let [_, second] = self.call(&embed(&self.gpu, batch).await?, &causal()).await?;
        second.attention_output.to_vec().await
    }

    /// How much of its attention the best head of each layer gives to what should matter to it: in the first layer, where a
    /// partner is told, to the letter before; in the second, where it is asked for, to the partner.
    async fn attention(&self, batch: &[Sequence]) -> Result<[f32; 2]> {
        let options = CallOptions { return_attention_scores: true, ..causal() };
        let called = self.call(&embed(&self.gpu, batch).await?, &options).await?;
        let mut shares = [0.0; 2];
        for (layer, (share, called)) in shares.iter_mut().zip(called).enumerate() {
            let Some(probs) = called.attention_scores else { continue }; // [B,H,T,T]
            let probs = probs.to_vec::<f32>().await?;
            let looks = |(b, sequence): (usize, &Sequence), h: usize, i: usize| {
                let partner = sequence.partners[i];
                let (t, s) = [(partner, partner - 1), (2 * PAIRS + i, partner)][layer];
                probs[((b * H + h) * T + t) * T + s]
            };
            let of_head = |h| {
                let all = batch.iter().enumerate().flat_map(|one| (0..PAIRS).map(move |i| looks(one, h, i)));
                all.sum::<f32>() / (batch.len() * PAIRS) as f32
            };
            *share = (0..H).map(of_head).fold(0.0, f32::max);
        }
        Ok(shares)
    }

    /// One step of training. Gives the loss before it.
    async fn step(&mut self, optimizer: &mut Optimizer, batch: &[Sequence]) -> Result<f32> {
        let x = embed(&self.gpu, batch).await?;
        let (first, first_tape) = self.first.call_with_tape(&x, &x, &causal()).await?;
        let hidden = add(&x, &first.attention_output).await?;
        let (second, second_tape) = self.second.call_with_tape(&hidden, &hidden, &causal()).await?;
        let (loss, d_output) = cross_entropy(&second.attention_output.to_vec().await?, batch);

        let d_output = Tensor::from_slice(&self.gpu, [batch.len(), T, C], &d_output).await?;
        let of_second = second_tape.backward(&d_output).await?;
        let d_hidden = add(&of_second.query, &of_second.value).await?;
        let of_first = first_tape.backward(&d_hidden).await?;

        let mut parameters = self.first.parameters("first/", &of_first);
        parameters.extend(self.second.parameters("second/", &of_second));
        optimizer.step(&self.gpu, &parameters).await?;
        Ok(loss)
    }

    /// A safetensors file of the weights and of what the optimizer knows.
    async fn save(&self, optimizer: &Optimizer) -> Result<Vec<u8>> {
        let mut tensors = Vec::new();
        for (prefix, layer) in [("first/", &self.first), ("second/", &self.second)] {
            let weights = layer.read_weights().await?;
            let named = weights.named().into_iter();
            tensors.extend(named.map(|(name, weight)| (format!("{prefix}{name}"), weight.clone())));
        }
        for slot in optimizer.state().await? {
            tensors.push((format!("optimizer/{}", slot.name), slot.into_float()?));
        }
        write_tensors(tensors.iter().map(|(name, array)| (name.as_str(), array)), DType::F32)
    }

    /// What `save` has written, with an optimizer for so many steps.
    async fn load(gpu: &Gpu, file: &[u8], steps: usize) -> Result<(Self, Optimizer)> {
        let tensors = read_tensors(file)?;
        let layer = async |prefix: &str| {
            let weights = Weights::from_named("load", &config(), |name| {
                let found = tensors.iter().find(|tensor| tensor.name.strip_prefix(prefix) == Some(name));
                found.cloned().map(NamedTensor::into_float).transpose()
            })?;
            GroupedQueryAttention::from_weights(gpu, config(), &weights).await
        };
        let state = tensors.iter().filter_map(|tensor| {
            let name = tensor.name.strip_prefix("optimizer/")?.to_owned();
            Some(NamedTensor { name, ..tensor.clone() })
        });
        let mut optimizer = optimizer(steps);
        optimizer.load_state(gpu, &state.collect::<Vec<_>>()).await?;
        Ok((
            Self { gpu: gpu.clone(), first: layer("first/").await?, second: layer("second/").await? },
            optimizer,
        ))
    }
}

/// Two query heads share each key/value head.
fn config() -> Config {
    Config::new(16, H, H / 2)
}

fn causal<'a>() -> CallOptions<'a> {
    CallOptions { use_causal_mask: true, ..Default::default() }
}

/// a + b. What is read back and sent again here would stay on the device in a kernel.
async fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut sum = a.to_vec::<f32>().await?;
    for (sum, b) in sum.iter_mut().zip(b.to_vec::<f32>().await?) {
        *sum += b;
    }
    Tensor::from_slice(a.gpu(), a.shape(), &sum).await
}

/// What is told, what is asked, and where the answers stand. Letters are numbers below `LETTERS`.
struct Sequence {
    letters: [usize; T],
    /// Where the partner stands that a question asks for.
    partners: [usize; PAIRS],
}

impl Sequence {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let alphabet: [usize; LETTERS] = shuffled(rng);
        let order: [usize; PAIRS] = shuffled(rng);
        let mut letters = [0; T];
        for i in 0..PAIRS {
            letters[2 * i] = alphabet[i];
            letters[2 * i + 1] = below(rng, LETTERS);
            letters[2 * PAIRS + i] = alphabet[order[i]];
        }
        Self { letters, partners: order.map(|pair| 2 * pair + 1) }
    }

    fn answers(&self) -> [usize; PAIRS] {
        self.partners.map(|partner| self.letters[partner])
    }
}

/// A random number below n.
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    (rng.next_u64() % n as u64) as usize
}

/// The numbers below N in random order.
fn shuffled<const N: usize>(rng: &mut ChaCha8Rng) -> [usize; N] {
    let mut numbers = std::array::from_fn(|i| i);
    for i in (1..N).rev() {
        numbers.swap(i, below(rng, i + 1));
    }
    numbers
}

/// One-hot letters, and the position as sines and cosines of wavelengths from 6 to 130: `[B,T,C]`.
async fn embed(gpu: &Gpu, batch: &[Sequence]) -> Result<Tensor> {
    let mut x = vec![0.0; batch.len() * T * C];
    let letters = batch.iter().flat_map(|sequence| sequence.letters.iter().enumerate());
    for (row, (position, &letter)) in x.chunks_mut(C).zip(letters) {
        row[letter] = 1.0;
        for (wave, channels) in row[LETTERS..].chunks_mut(2).take(WAVES).enumerate() {
            let angle = position as f32 * 32f32.powf(-(wave as f32) / WAVES as f32);
            channels.copy_from_slice(&[angle.sin(), angle.cos()]);
        }
    }
    Tensor::from_slice(gpu, [batch.len(), T, C], &x).await
}

/// Where the scores of each question lie in an output `[B,T,C]`, and what is right.
fn questions(batch: &[Sequence]) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
    let of_sequence = |(b, sequence): (usize, &Sequence)| {
        let start = move |i: usize| (b * T + 2 * PAIRS + i) * C;
        let answers = sequence.answers().into_iter().enumerate();
        answers.map(move |(i, answer)| (start(i)..start(i) + LETTERS, answer))
    };
    batch.iter().enumerate().flat_map(of_sequence)
}

/// The mean of −ln softmax(scores)[answer], and its gradient for the output `[B,T,C]`.
fn cross_entropy(output: &[f32], batch: &[Sequence]) -> (f32, Vec<f32>) {
    let share = 1.0 / (batch.len() * PAIRS) as f32;
    let (mut loss, mut gradient) = (0.0, vec![0.0; output.len()]);
    for (at, answer) in questions(batch) {
        let (scores, gradient) = (&output[at.clone()], &mut gradient[at]);
        let max = scores.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = scores.iter().map(|score| (score - max).exp()).sum();
        loss -= share * (scores[answer] - max - sum.ln());
        for (gradient, score) in gradient.iter_mut().zip(scores) {
            *gradient = share * (score - max).exp() / sum;
        }
        gradient[answer] -= share;
    }
    (loss, gradient)
}

/// How many of the questions get their right answer the highest score, from 0 to 1.
fn accuracy(output: &[f32], batch: &[Sequence]) -> f64 {
    let right = questions(batch).filter(|(at, answer)| best(&output[at.clone()]) == *answer).count();
    right as f64 / (batch.len() * PAIRS) as f64
}

fn best(scores: &[f32]) -> usize {
    let order = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1);
    scores.iter().enumerate().max_by(order).map_or(0, |(letter, _)| letter)
}

/// Prints a sequence, and what the output `[B,T,C]` says to it as the first of its batch.
fn show(sequence: &Sequence, output: &[f32]) {
    let text = |letters: &[usize]| letters.iter().map(|&i| char::from(b'a' + i as u8)).collect::<String>();
    let pairs: Vec<_> = sequence.letters[..2 * PAIRS].chunks(2).map(text).collect();
    let said: Vec<_> = questions(std::slice::from_ref(sequence)).map(|(at, _)| best(&output[at])).collect();
    println!("told {}", pairs.join(" "));
    println!("asked {}, said {}", text(&sequence.letters[2 * PAIRS..]), text(&said));
}

/// Fails where two outputs differ in any bit.
fn same(what: &str, a: &[f32], b: &[f32]) -> std::result::Result<(), String> {
    let same = a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()));
    println!("{what} is {}", if same { "the same" } else { "not the same" });
    if same { Ok(()) } else { Err(format!("{what} differs")) }
}

struct Arguments {
    steps: usize,
    seed: u64,
    checkpoint: Option<PathBuf>,
}

impl Arguments {
    fn parse() -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let mut arguments = Self { steps: 600, seed: 1, checkpoint: None };
        let mut words = std::env::args().skip(1);
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--steps" => arguments.steps = value.parse()?,
                "--seed" => arguments.seed = value.parse()?,
                "--checkpoint" => arguments.checkpoint = Some(value.into()),
                _ => return Err(format!("{name} is none of --steps, --seed, --checkpoint").into()),
            }
        }
        Ok(arguments)
    }
}

/// A file of this process alone.
fn temporary_file() -> PathBuf {
    std::env::temp_dir().join(format!("gqa-recall-{}.safetensors", std::process::id()))
}
