//! Choice by measurement: the candidates of a class of shapes are run on scratch buffers, and the quickest is kept.

use web_time::{Duration, Instant};

use crate::Result;
use crate::gpu::{ChoiceSource, Class, Gpu, Pass, Submitter, Tuning, Workspace};

/// A class is tried for no longer than this; candidates past it are left out.
const PATIENCE: Duration = Duration::from_secs(8);

/// A candidate is timed so often, or for so long.
const REPETITIONS: usize = 5;
const CANDIDATE_TIME: Duration = Duration::from_millis(150);

/// Multiply-adds that one run of a candidate does at most: some hundredths of a second.
pub(crate) fn work(gpu: &Gpu) -> u64 {
    if gpu.is_cpu() { 1 << 29 } else { 1 << 35 }
}

/// Buffers of so many words, all 0: what they held before could be slow to compute with.
pub(crate) async fn scratch<const N: usize>(gpu: &Gpu, words: [u64; N]) -> Result<[Workspace; N]> {
    gpu.checked("tuning", || {
        let buffers = words.map(|words| Workspace::new(gpu, "tuning", words));
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        buffers.iter().for_each(|buffer| buffer.clear(&mut encoder));
        gpu.queue().submit([encoder.finish()]);
        Ok(buffers)
    })
    .await
}

/// A form of a kernel, among which one is chosen.
pub(crate) trait Form: Copy + PartialEq + 'static {
    /// What names it, in files too.
    fn name(&self) -> &'static str;
}

/// The form to take for a class, without measuring: the one chosen before, the one remembered, or `default`.
pub(crate) fn form<F: Form>(gpu: &Gpu, class: &Class, forms: &[F], default: F) -> F {
    if let Some(name) = gpu.chosen(class) {
        return forms.iter().copied().find(|form| form.name() == name).unwrap_or(default);
    }
    let (form, source) = match recall(gpu, class, forms) {
        Some(form) => (form, ChoiceSource::Remembered),
        None => (default, ChoiceSource::Default),
    };
    gpu.choose(class.clone(), form.name(), source);
    form
}

/// What an earlier process measured.
fn recall<F: Form>(gpu: &Gpu, class: &Class, forms: &[F]) -> Option<F> {
    if gpu.tuning() == Tuning::Off {
        return None;
    }
    #[cfg(target_arch = "wasm32")]
    let name: Option<String> = None;
    #[cfg(not(target_arch = "wasm32"))]
    let name = gpu.remembered(class);
    forms.iter().copied().find(|form| Some(form.name()) == name.as_deref())
}

/// Whether a class is to be measured: tuning is on, there is a choice, and nobody has measured.
pub(crate) fn is_due<F: Form>(gpu: &Gpu, class: &Class, candidates: &[F]) -> bool {
    if gpu.tuning() == Tuning::Off || candidates.len() < 2 || gpu.is_measured(class) {
        return false;
    }
    match recall(gpu, class, candidates) {
        Some(form) => {
            gpu.choose(class.clone(), form.name(), ChoiceSource::Remembered);
            false
        }
        None => true,
    }
}

/// Measures the candidates of a class, the default among them. `record` runs a form on operands of the class's sizes.
pub(crate) async fn tune<F: Form>(
    gpu: &Gpu,
    class: Class,
    candidates: &[F],
    record: impl Fn(&mut Pass<'_>, F) -> Result<()>,
) -> Result<()> {
    log::info!("gqa: measuring {} forms for {class} on {gpu:?}", candidates.len());
    let start = Instant::now();
    let mut times: Vec<(F, f64)> = Vec::new();
    for &form in candidates {
        if start.elapsed() > PATIENCE {
            break;
        }
        if let Some(time) = time(gpu, form, &times, &record).await? {
            times.push((form, time));
        }
    }
    times.sort_by(|a, b| a.1.total_cmp(&b.1));
    let Some((best, _)) = times.first().copied() else { return Ok(()) };
    let seconds = start.elapsed().as_secs_f64();
    log::info!("gqa: {class}: {} is best, found in {seconds:.1} s", best.name());
    #[cfg(not(target_arch = "wasm32"))]
    gpu.remember(&class, best.name());
    let candidates = times.iter().map(|(form, time)| (form.name(), time * 1e3)).collect();
    gpu.choose(class, best.name(), ChoiceSource::Measured { candidates, seconds });
    Ok(())
}

/// The median seconds that a form takes; `None` where its second run, the first without compilation, takes three times as
/// long as the best so far.
async fn time<F: Form>(
    gpu: &Gpu,
    form: F,
    so_far: &[(F, f64)],
    record: &impl Fn(&mut Pass<'_>, F) -> Result<()>,
) -> Result<Option<f64>> {
    let best = so_far.iter().map(|(_, time)| *time).fold(f64::INFINITY, f64::min);
    run(gpu, form, record).await?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < REPETITIONS && (times.is_empty() || start.elapsed() < CANDIDATE_TIME) {
        let time = run(gpu, form, record).await?;
        if times.is_empty() && time > 3.0 * best {
            return Ok(None);
        }
        times.push(time);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied())
}

/// Runs a form once and waits for it: seconds.
async fn run<F: Form>(gpu: &Gpu, form: F, record: &impl Fn(&mut Pass<'_>, F) -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    gpu.checked("tuning", || {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = Pass::begin(gpu, &mut encoder, Submitter::Library);
        record(&mut pass, form)?;
        let recorded = pass.end();
        gpu.queue().submit([encoder.finish()]);
        drop(recorded);
        Ok(())
    })
    .await?;
    gpu.finish().await?;
    Ok(start.elapsed().as_secs_f64())
}
