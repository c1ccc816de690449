//! Choice of a kernel's form: fixed by the caller, measured, remembered from an earlier process, or the default.
//!
//! Measuring runs the candidates of a class of shapes on scratch buffers and keeps the fastest.

use web_time::{Duration, Instant};

use crate::Result;
use crate::gpu::{ChoiceSource, Class, Gpu, Pass, Tuning, Workspace};
use crate::shapes::Dims;

/// The time limit of measuring one class; the remaining candidates are skipped.
const PATIENCE: Duration = Duration::from_secs(8);

/// Timed runs per candidate, interleaved with the other candidates.
const REPETITIONS: usize = 5;

/// A candidate slower than the best by this factor is timed once only.
const HOPELESS: f64 = 1.5;

/// A form of a kernel: its tile configuration.
pub(crate) trait NamedForm: Copy {
    /// Its name, also in files.
    fn name(&self) -> &'static str;

    /// Whether it runs on cooperative matrices.
    fn uses_matrices(&self) -> bool {
        false
    }
}

/// A problem of a kernel that has several forms.
pub(crate) trait Tunable {
    type Form: NamedForm;
    /// Operands for measuring.
    type Scratch;

    /// All forms of the kernel, in the order of measurement.
    fn forms() -> impl Iterator<Item = Self::Form>;

    /// The class of shapes of this problem.
    fn class(&self, gpu: &Gpu) -> Class;

    /// Whether the problem can run in this form on the device.
    fn fits(&self, gpu: &Gpu, form: Self::Form) -> bool;

    /// Whether a form that fits is worth measuring.
    fn suits(&self, gpu: &Gpu, form: Self::Form) -> bool;

    /// The form to take without a measurement; `None` if no form fits.
    fn default_form(&self, gpu: &Gpu) -> Option<Self::Form>;

    /// Whether this problem takes a form that the caller fixed or that was measured for the class. Otherwise it takes the
    /// default.
    fn accepts(&self, gpu: &Gpu, form: Self::Form) -> bool {
        self.fits(gpu, form)
    }

    /// Operands of a problem of this class with at most [`work`] multiply-adds.
    async fn scratch(&self, gpu: &Gpu) -> Result<Self::Scratch>;

    /// Records one run on scratch operands.
    fn record(&self, pass: &mut Pass<'_>, scratch: &Self::Scratch, form: Self::Form) -> Result<()>;
}

/// The most multiply-adds of one run of a candidate: some hundredths of a second.
pub(crate) fn work(gpu: &Gpu) -> u64 {
    if gpu.is_cpu() { 1 << 29 } else { 1 << 35 }
}

/// Reduces the batch, then the heads, then queries and keys, until the multiply-adds are at most [`work`], if possible.
pub(crate) fn smaller(gpu: &Gpu, mut dims: Dims, multiply_adds: impl Fn(&Dims) -> u64) -> Dims {
    while multiply_adds(&dims) > work(gpu) {
        if dims.batch > 1 {
            dims.batch = dims.batch.div_ceil(2);
        } else if dims.key_heads > 1 {
            let group = dims.group_size();
            dims.key_heads = dims.key_heads.div_ceil(2);
            dims.query_heads = dims.key_heads * group;
        } else if dims.query_len > 512 && dims.key_len > 512 {
            dims.query_len = dims.query_len.div_ceil(2);
            dims.key_len = dims.key_len.div_ceil(2);
        } else {
            break;
        }
    }
    dims
}

/// Buffers of these sizes in words, all 0: stale contents (denormals, say) could be slow to compute with.
pub(crate) async fn buffers<const N: usize>(gpu: &Gpu, words: [u64; N]) -> Result<[Workspace; N]> {
    gpu.checked("tuning", || {
        let buffers = words.map(|words| Workspace::new(gpu, "tuning", words));
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        buffers.iter().for_each(|buffer| buffer.clear(&mut encoder));
        gpu.queue().submit([encoder.finish()]);
        Ok(buffers)
    })
    .await
}

/// The form to take, without measuring: the one that the caller fixed, the one chosen before, the one remembered, or the
/// default. `None` if no form fits, or if the fixed one does not.
pub(crate) fn form<P: Tunable>(problem: &P, gpu: &Gpu) -> Option<P::Form> {
    let default = problem.default_form(gpu)?;
    let class = problem.class(gpu);
    let named = |name: &str| P::forms().find(|form| form.name() == name && problem.accepts(gpu, *form));
    let form = if let Some(name) = gpu.fixed(class.kernel) {
        let fixed = named(name).unwrap_or(default);
        gpu.choose(class, fixed.name(), ChoiceSource::Fixed);
        fixed
    } else if let Some(name) = gpu.chosen(&class) {
        named(name).unwrap_or(default)
    } else {
        let (form, source) = match recalled(gpu, &class).and_then(|name| named(&name)) {
            Some(form) => (form, ChoiceSource::Remembered),
            None => (default, ChoiceSource::Default),
        };
        gpu.choose(class, form.name(), source);
        form
    };
    problem.fits(gpu, form).then_some(form)
}

/// The name of the form that an earlier process measured as fastest.
fn recalled(gpu: &Gpu, class: &Class) -> Option<String> {
    if gpu.tuning() == Tuning::Off { None } else { gpu.remembered(class) }
}

/// The default form and the other candidates, in the order of measurement.
fn candidates<P: Tunable>(problem: &P, gpu: &Gpu) -> Vec<P::Form> {
    let default = problem.default_form(gpu);
    let is_default = |form: &P::Form| default.as_ref().is_some_and(|default| default.name() == form.name());
    let is_candidate =
        |form: &P::Form| problem.fits(gpu, *form) && problem.suits(gpu, *form) && !is_default(form);
    let mut others: Vec<_> = P::forms().filter(is_candidate).collect();
    // Unless cooperative matrices are emulated (CPU adapters), their forms are likely to be fastest, so they come first.
    others.sort_by_key(|form| form.uses_matrices() == gpu.is_cpu());
    default.into_iter().chain(others).collect()
}

/// Measures the candidates of a problem's class and remembers the fastest, if tuning is on and neither this process nor an
/// earlier one has done so.
pub(crate) async fn tune<P: Tunable>(problem: &P, gpu: &Gpu) -> Result<()> {
    let class = problem.class(gpu);
    if gpu.tuning() == Tuning::Off || gpu.fixed(class.kernel).is_some() || gpu.is_measured(&class) {
        return Ok(());
    }
    let candidates = candidates(problem, gpu);
    if candidates.len() < 2 {
        return Ok(());
    }
    let remembered = recalled(gpu, &class);
    if let Some(form) = candidates.iter().find(|form| Some(form.name()) == remembered.as_deref()) {
        gpu.choose(class, form.name(), ChoiceSource::Remembered);
        return Ok(());
    }
    let scratch = problem.scratch(gpu).await?;
    measure(problem, gpu, class, &candidates, &scratch).await
}

async fn measure<P: Tunable>(
    problem: &P,
    gpu: &Gpu,
    class: Class,
    candidates: &[P::Form],
    scratch: &P::Scratch,
) -> Result<()> {
    log::info!("gqa: measuring {} forms for {class} on {gpu:?}", candidates.len());
    let start = Instant::now();
    let run = async |form: P::Form| run(gpu, |pass| problem.record(pass, scratch, form)).await;
    // The first run of each compiles and is not timed. Candidates far behind after a second run are dropped.
    let mut times: Vec<(P::Form, Vec<f64>)> = Vec::new();
    let mut longest = Duration::ZERO;
    for &form in candidates {
        // The next candidate may take as long to compile as the slowest so far.
        if start.elapsed() + longest > PATIENCE {
            break;
        }
        let began = Instant::now();
        run(form).await?;
        longest = longest.max(began.elapsed());
        times.push((form, vec![run(form).await?]));
    }
    let best = times.iter().map(|(_, times)| times[0]).fold(f64::INFINITY, f64::min);
    for _ in 1..REPETITIONS {
        for (form, times) in &mut times {
            if times[0] <= HOPELESS * best && start.elapsed() < PATIENCE {
                times.push(run(*form).await?);
            }
        }
    }
    let mut medians: Vec<_> = times.into_iter().map(|(form, times)| (form.name(), median(times))).collect();
    medians.sort_by(|a, b| a.1.total_cmp(&b.1));
    let Some((best, _)) = medians.first().copied() else { return Ok(()) };
    let seconds = start.elapsed().as_secs_f64();
    log::info!("gqa: {class}: {best} is best, found in {seconds:.1} s");
    gpu.remember(&class, best);
    let candidates = medians.iter().map(|(name, time)| (*name, time * 1e3)).collect();
    gpu.choose(class, best, ChoiceSource::Measured { candidates, seconds });
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Submits the recorded commands once, waits for them, and returns the seconds that it took.
async fn run(gpu: &Gpu, record: impl FnOnce(&mut Pass<'_>) -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    gpu.submit("tuning", record).await?;
    gpu.finish().await?;
    Ok(start.elapsed().as_secs_f64())
}
