//! What an adapter can do at most, measured by work that does nothing else. Maxima, since these are limits.

use super::Roofline;
use super::timer::{Sample, Timer};
use crate::gpu::{Operand, Pass};
use crate::kernels::elementwise::cast::cast;
use crate::kernels::fma_peak::{ACCUMULATORS, MAX_ITERATIONS, fma_peak, multiply_adds};
use crate::{DType, Error, Gpu, Result, Tensor};

const OPERATION: &str = "bench";

/// Enough invocations to fill any GPU several times over.
const INVOCATIONS: usize = 1 << 18;

/// Milliseconds that a run takes by which timestamps are judged: long beside what a submission costs.
const LONG: f64 = 60.0;

/// Milliseconds of a timed run: so short that on a busy machine one or another is not interrupted.
const SHORT: f64 = 8.0;

/// Timed runs of each form, and of each way to copy.
const RUNS: usize = 8;

/// A way to copy that does this part of the best won't become the best.
const HOPELESS: f64 = 0.6;

/// a = 0.999 a + 0.001 stays near 1: nothing overflows, nothing becomes denormal.
const STEP: [f32; 2] = [0.999, 0.001];

/// Bytes of what is copied: past the caches of any GPU, where the adapter allows it.
const COPY_BYTES: u64 = 256 << 20;

/// Bytes below which a copy says little of memory.
const LEAST_COPY_BYTES: u64 = 16 << 20;

/// The limits of an adapter, and what reached them.
pub(super) struct Limits {
    pub(super) roofline: Roofline,
    /// Accumulators and iterations of the kernel of multiply-adds.
    form: [u32; 2],
    /// Whether the kernel copies quicker than the queue.
    by_kernel: bool,
}

impl Limits {
    /// Measures both limits, and finds out on the way whether `timer` can trust timestamps.
    pub(super) async fn measure(gpu: &Gpu, timer: &mut Timer) -> Result<Self> {
        let (form, f32_gflops) = operations(gpu, timer).await?;
        let (by_kernel, copy_gbytes) = copies(gpu, timer, &[false, true], RUNS).await?;
        if !(f32_gflops > 0.0 && copy_gbytes > 0.0) {
            let message = "the adapter's limits can't be measured: its timestamps contradict the wall clock";
            return Err(Error::Gpu { operation: OPERATION, message: message.into() });
        }
        Ok(Self { roofline: Roofline { f32_gflops, copy_gbytes }, form, by_kernel })
    }

    /// Measures once more, and raises the limits if the adapter has something more to give than it had then.
    pub(super) async fn again(&mut self, gpu: &Gpu, timer: &Timer) -> Result<()> {
        let y = Tensor::empty(gpu, [INVOCATIONS], DType::F32).await?;
        let gflops = repeated(timer, self.form, &y, RUNS).await?;
        let (_, gbytes) = copies(gpu, timer, &[self.by_kernel], 2).await?;
        let Roofline { f32_gflops, copy_gbytes } = &mut self.roofline;
        (*f32_gflops, *copy_gbytes) = (f32_gflops.max(gflops), copy_gbytes.max(gbytes));
        Ok(())
    }
}

/// The form of the kernel that does most, and 10⁹ f32 operations in a second, a multiply-add counted as two.
async fn operations(gpu: &Gpu, timer: &mut Timer) -> Result<([u32; 2], f64)> {
    let y = Tensor::empty(gpu, [INVOCATIONS], DType::F32).await?;
    let mut best = ([0, 0], 0.0);
    for accumulators in ACCUMULATORS {
        // The first run compiles.
        run(timer, [accumulators, 1], &y).await?;
        let mut iterations = 4;
        let mut sample = run(timer, [accumulators, iterations], &y).await?;
        while let Some(more) = longer(iterations, sample.wall()) {
            iterations = more;
            sample = run(timer, [accumulators, iterations], &y).await?;
        }
        // A busy machine may notice late that the work is done, but not each time.
        let mut tries = 1;
        while !timer.trusts(&sample) && tries < 3 {
            (sample, tries) = (run(timer, [accumulators, iterations], &y).await?, tries + 1);
        }
        if !timer.trusts(&sample) {
            timer.give_up_timestamps();
        }
        let short = (f64::from(iterations) * SHORT / sample.wall()).ceil() as u32;
        let form = [accumulators, short.clamp(1, MAX_ITERATIONS)];
        let gflops = repeated(timer, form, &y, RUNS).await?;
        if gflops > best.1 {
            best = (form, gflops);
        }
    }
    Ok(best)
}

/// The most operations in a second of several runs, 10⁹; 0 if none could be timed.
async fn repeated(timer: &Timer, form: [u32; 2], y: &Tensor, runs: usize) -> Result<f64> {
    let [accumulators, iterations] = form;
    let flops = 2.0 * multiply_adds(accumulators, iterations) as f64 * INVOCATIONS as f64;
    let mut most: f64 = 0.0;
    for _ in 0..runs {
        let sample = run(timer, form, y).await?;
        most = most.max(timer.milliseconds(&sample).map_or(0.0, |ms| flops / ms * 1e-6));
    }
    Ok(most)
}

async fn run(timer: &Timer, [accumulators, iterations]: [u32; 2], y: &Tensor) -> Result<Sample> {
    let recorded = timer.sample(|encoder| {
        let mut pass = Pass::begin(y.gpu(), encoder);
        fma_peak(&mut pass, [accumulators, iterations], STEP, y.range(), INVOCATIONS)
    });
    Ok(recorded.await?.1)
}

/// How many iterations to try next, if a run of `iterations` in `ms` milliseconds was too short to tell.
fn longer(iterations: u32, ms: f64) -> Option<u32> {
    if ms >= LONG / 2.0 || iterations >= MAX_ITERATIONS {
        return None;
    }
    // A short run is mostly the submission, so it says little.
    let growth = (LONG / ms.max(0.01)).clamp(2.0, 32.0);
    Some((f64::from(iterations) * growth).min(f64::from(MAX_ITERATIONS)) as u32)
}

/// Which of some ways to copy is quickest, the queue's (false) or a kernel's (true), and how many bytes it reads and
/// writes in a second, 10⁹; 0 if none could be timed.
async fn copies(gpu: &Gpu, timer: &Timer, ways: &[bool], runs: usize) -> Result<(bool, f64)> {
    let (from, to) = copied(gpu).await?;
    let count = from.shape()[0];
    let bytes = 4 * count as u64;
    let mut best = (false, 0.0);
    for &by_kernel in ways {
        // The first run compiles, and touches memory that was only promised so far.
        for _ in 0..=runs {
            let recorded = timer.sample(|encoder| {
                if by_kernel {
                    let mut pass = Pass::begin(gpu, encoder);
                    return cast(&mut pass, Operand::f32(from.range()), Operand::f32(to.range()), count);
                }
                encoder.copy_buffer_to_buffer(from.buffer(), 0, to.buffer(), 0, bytes);
                Ok(())
            });
            let (_, sample) = recorded.await?;
            let gbytes = timer.milliseconds(&sample).map_or(0.0, |ms| 2.0 * bytes as f64 / ms * 1e-6);
            if gbytes > best.1 {
                best = (by_kernel, gbytes);
            }
            if gbytes < HOPELESS * best.1 {
                break;
            }
        }
    }
    Ok(best)
}

/// Two tensors as large as the adapter allows, up to [`COPY_BYTES`].
async fn copied(gpu: &Gpu) -> Result<(Tensor, Tensor)> {
    let mut bytes = COPY_BYTES.min(gpu.binding_limits().bytes);
    loop {
        let new = || Tensor::empty(gpu, [(bytes / 4) as usize], DType::F32);
        match async { Ok((new().await?, new().await?)) }.await {
            Err(Error::OutOfMemory { .. }) if bytes / 2 >= LEAST_COPY_BYTES => bytes /= 2,
            pair => return pair,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_until_they_are_long_and_end_at_the_limit() {
        // An adapter that does so many iterations in a millisecond, after half a millisecond of submission.
        for rate in [0.001, 0.3, 7.0, 400.0, 1e6] {
            let time = |iterations: u32| 0.5 + f64::from(iterations) / rate;
            let mut iterations = 4;
            let mut runs = 1;
            while let Some(more) = longer(iterations, time(iterations)) {
                assert!(more > iterations && more <= MAX_ITERATIONS);
                (iterations, runs) = (more, runs + 1);
                assert!(runs < 10);
            }
            let ms = time(iterations);
            assert!(iterations == MAX_ITERATIONS || ms >= LONG / 2.0);
            assert!(iterations == 4 || ms < 2.5 * LONG, "{rate}: {ms}");
        }
    }
}
