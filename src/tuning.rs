//! Choice by measurement: the candidates of a class of shapes are run on scratch buffers, and the quickest is kept.

use web_time::{Duration, Instant};

use crate::gpu::{ChoiceSource, Class, Gpu, Pass, Tuning, Workspace};
use crate::kernels::{attention_backward, attention_forward, linear};
use crate::shapes::Dims;
use crate::{Error, Result};

/// A class is tried for no longer than this; candidates past it are left out.
const PATIENCE: Duration = Duration::from_secs(8);

/// A candidate is timed so often, in turns with the others.
const REPETITIONS: usize = 5;

/// A candidate that takes so many times as long as the best is timed once.
const HOPELESS: f64 = 1.5;

/// The kernels that have forms to choose from, and the names of those.
pub fn forms() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        (linear::KERNEL.name, linear::forms().map(|form| form.name).collect()),
        (attention_forward::KERNEL.name, attention_forward::forms().map(|form| form.name).collect()),
        (attention_backward::KERNEL.name, attention_backward::FORMS.iter().map(|form| form.name).collect()),
    ]
}

impl Gpu {
    /// Takes this form of a kernel from now on, whatever the shapes, or with `None` the chosen ones again. For benchmarks
    /// and for the curious: calls are right in any form, and slow in most. A call whose shapes the form can't take fails,
    /// except that forms in [matrix units](Gpu::matrix_units) leave operands that are not f16 to the default form.
    ///
    /// Fails where [`forms`] has no such kernel or form, and where the form does not fit the device, such as one in matrix
    /// units that have not passed their test.
    pub fn fix_form(&self, kernel: &str, form: Option<&str>) -> Result<()> {
        const OPERATION: &str = "Gpu::fix_form";
        let all = forms();
        let Some((kernel, names)) = all.iter().find(|(name, _)| *name == kernel) else {
            let known: Vec<_> = all.iter().map(|(name, _)| *name).collect();
            return Err(Error::argument(OPERATION, "kernel", format!("one of {known:?}"), kernel));
        };
        let Some(wanted) = form else {
            self.fix(kernel, None);
            return Ok(());
        };
        let Some(name) = names.iter().find(|name| **name == wanted) else {
            return Err(Error::argument(OPERATION, "form", format!("one of {names:?}"), wanted));
        };
        let (units, limits) = (self.tested_units(), self.limits());
        let fits = if *kernel == linear::KERNEL.name {
            linear::forms().any(|form| form.name == *name && form.fits(units, limits))
        } else {
            // Whether it fits depends on the heads too.
            let matrix = attention_forward::MATRIX_FORMS.iter().any(|form| form.name == *name);
            units.is_some() || !matrix
        };
        if !fits {
            return Err(Error::argument(OPERATION, "form", "one that fits this device", *name));
        }
        self.fix(kernel, Some(name));
        Ok(())
    }
}

/// Multiply-adds that one run of a candidate does at most: some hundredths of a second.
pub(crate) fn work(gpu: &Gpu) -> u64 {
    if gpu.is_cpu() { 1 << 29 } else { 1 << 35 }
}

/// Dimensions with fewer heads, and then fewer queries and keys, of at most [`work`] multiply-adds if that can be.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Form<L, M> {
    /// What names it, in files too.
    pub(crate) name: &'static str,
    pub(crate) layout: Layout<L, M>,
}

/// How a kernel is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Layout<L, M> {
    /// Over lanes and registers.
    Lanes(L),
    /// Over matrix units.
    Matrix(M),
}

impl<L: Copy, M: Copy> Form<L, M> {
    pub(crate) fn is_matrix(&self) -> bool {
        matches!(self.layout, Layout::Matrix(_))
    }

    /// The layout over matrix units.
    #[cfg(test)]
    pub(crate) fn matrix(&self) -> Option<M> {
        match self.layout {
            Layout::Lanes(_) => None,
            Layout::Matrix(matrix) => Some(matrix),
        }
    }
}

/// The default form, and the others that may be best, in the order in which they are tried.
pub(crate) fn candidates<L: Copy + PartialEq, M: Copy + PartialEq>(
    gpu: &Gpu,
    default: Option<Form<L, M>>,
    others: impl Iterator<Item = Form<L, M>>,
) -> Vec<Form<L, M>> {
    let mut others: Vec<_> = others.filter(|form| Some(*form) != default).collect();
    // Where matrix units are not an emulation, their forms are likely to be best.
    others.sort_by_key(|form| form.is_matrix() == gpu.is_cpu());
    default.into_iter().chain(others).collect()
}

/// The form to take for a class of those that the call can have, without measuring: the one that the caller wants, the one
/// chosen before, the one remembered, or `default`.
pub(crate) fn form<L: Copy, M: Copy>(
    gpu: &Gpu,
    class: &Class,
    forms: impl Iterator<Item = Form<L, M>>,
    default: Form<L, M>,
) -> Form<L, M> {
    let mut forms = forms;
    let mut named = |name: &str| forms.find(|form| form.name == name);
    if let Some(name) = gpu.fixed(class.kernel) {
        let fixed = named(name).unwrap_or(default);
        gpu.choose(class.clone(), fixed.name, ChoiceSource::Fixed);
        return fixed;
    }
    if let Some(name) = gpu.chosen(class) {
        return named(name).unwrap_or(default);
    }
    let (form, source) = match recalled(gpu, class).and_then(|name| named(&name)) {
        Some(form) => (form, ChoiceSource::Remembered),
        None => (default, ChoiceSource::Default),
    };
    gpu.choose(class.clone(), form.name, source);
    form
}

/// What an earlier process measured, by name.
fn recalled(gpu: &Gpu, class: &Class) -> Option<String> {
    if gpu.tuning() == Tuning::Off { None } else { gpu.remembered(class) }
}

/// Whether nobody has measured a class that is to be: the first question of every call.
pub(crate) fn is_due(gpu: &Gpu, class: &Class) -> bool {
    gpu.tuning() == Tuning::On && gpu.fixed(class.kernel).is_none() && !gpu.is_measured(class)
}

/// Whether there is a choice of candidates, and no earlier process has made it.
pub(crate) fn is_open<L: Copy, M: Copy>(gpu: &Gpu, class: &Class, candidates: &[Form<L, M>]) -> bool {
    if candidates.len() < 2 {
        return false;
    }
    let remembered = recalled(gpu, class);
    match candidates.iter().find(|form| Some(form.name) == remembered.as_deref()) {
        Some(form) => {
            gpu.choose(class.clone(), form.name, ChoiceSource::Remembered);
            false
        }
        None => true,
    }
}

/// Measures the candidates of a class, the default among them. `record` runs a form on operands of the class's sizes.
pub(crate) async fn tune<L: Copy, M: Copy>(
    gpu: &Gpu,
    class: Class,
    candidates: &[Form<L, M>],
    record: impl Fn(&mut Pass<'_>, Form<L, M>) -> Result<()>,
) -> Result<()> {
    log::info!("gqa: measuring {} forms for {class} on {gpu:?}", candidates.len());
    let start = Instant::now();
    // Each is compiled by a run that is not timed; what is far behind after one more is left out.
    let mut times: Vec<(Form<L, M>, Vec<f64>)> = Vec::new();
    let mut longest = Duration::ZERO;
    for &form in candidates {
        // The next may take as long to compile as any before.
        if start.elapsed() + longest > PATIENCE {
            break;
        }
        let began = Instant::now();
        run(gpu, |pass| record(pass, form)).await?;
        longest = longest.max(began.elapsed());
        times.push((form, vec![run(gpu, |pass| record(pass, form)).await?]));
    }
    let best = times.iter().map(|(_, times)| times[0]).fold(f64::INFINITY, f64::min);
    for _ in 1..REPETITIONS {
        for (form, times) in &mut times {
            if times[0] <= HOPELESS * best && start.elapsed() < PATIENCE {
                times.push(run(gpu, |pass| record(pass, *form)).await?);
            }
        }
    }
    let mut medians: Vec<_> = times.into_iter().map(|(form, times)| (form, median(times))).collect();
    medians.sort_by(|a, b| a.1.total_cmp(&b.1));
    let Some((best, _)) = medians.first().copied() else { return Ok(()) };
    let seconds = start.elapsed().as_secs_f64();
    log::info!("gqa: {class}: {} is best, found in {seconds:.1} s", best.name);
    gpu.remember(&class, best.name);
    let candidates = medians.iter().map(|(form, time)| (form.name, time * 1e3)).collect();
    gpu.choose(class, best.name, ChoiceSource::Measured { candidates, seconds });
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Runs once what is recorded, and waits for it: seconds.
async fn run(gpu: &Gpu, record: impl FnOnce(&mut Pass<'_>) -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    gpu.submit("tuning", record).await?;
    gpu.finish().await?;
    Ok(start.elapsed().as_secs_f64())
}
