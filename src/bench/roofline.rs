//! What an adapter can do at most, measured by work that does nothing else. Maxima, since these are limits.

use super::Roofline;
use super::timer::{Sample, Timer};
use crate::gpu::{Pass, Submitter};
use crate::kernels::cast::cast;
use crate::kernels::peak::{ACCUMULATORS, MAX_ITERATIONS, multiply_adds, peak};
use crate::{DType, Error, Gpu, Result, Tensor};

const OPERATION: &str = "bench";

/// Enough invocations to fill any GPU several times over.
const INVOCATIONS: usize = 1 << 18;

/// Milliseconds that a timed run should take: long beside what a submission costs, short of what anyone would notice.
const TARGET: f64 = 60.0;

/// Timed runs of each form.
const REPETITIONS: usize = 3;

/// A way that does this part of the best won't become the best.
const HOPELESS: f64 = 0.6;

/// a = 0.999 a + 0.001 stays near 1: nothing overflows, nothing becomes denormal.
const STEP: [f32; 2] = [0.999, 0.001];

/// Bytes of what is copied: past the caches of any GPU, where the adapter allows it.
const COPY_BYTES: u64 = 256 << 20;

/// Bytes below which a copy says little of memory.
const LEAST_COPY_BYTES: u64 = 16 << 20;

/// Measures both limits, and finds out on the way whether `timer` can trust timestamps.
pub(super) async fn measure(gpu: &Gpu, timer: &mut Timer) -> Result<Roofline> {
    let f32_gflops = operations(gpu, timer).await?;
    let copy_gbytes = copies(gpu, timer).await?;
    Ok(Roofline { f32_gflops, copy_gbytes })
}

/// 10⁹ f32 operations in a second, a multiply-add counted as two: the most that a form of the kernel does.
async fn operations(gpu: &Gpu, timer: &mut Timer) -> Result<f64> {
    let y = Tensor::empty(gpu, [INVOCATIONS], DType::F32).await?;
    let mut best: f64 = 0.0;
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
        while !timer.trusts(&sample) && tries < REPETITIONS {
            (sample, tries) = (run(timer, [accumulators, iterations], &y).await?, tries + 1);
        }
        if !timer.trusts(&sample) {
            timer.give_up_timestamps();
        }
        for _ in 0..REPETITIONS {
            let flops = 2.0 * multiply_adds(accumulators, iterations) as f64 * INVOCATIONS as f64;
            let gflops = timer.milliseconds(&sample).map_or(0.0, |ms| flops / ms * 1e-6);
            best = best.max(gflops);
            if gflops < HOPELESS * best {
                break;
            }
            sample = run(timer, [accumulators, iterations], &y).await?;
        }
    }
    positive(best)
}

async fn run(timer: &Timer, [accumulators, iterations]: [u32; 2], y: &Tensor) -> Result<Sample> {
    let recorded = timer.sample(|encoder| {
        let mut pass = Pass::begin(y.gpu(), encoder, Submitter::Caller);
        peak(&mut pass, [accumulators, iterations], STEP, y.slot(), INVOCATIONS)
    });
    Ok(recorded.await?.1)
}

/// How many iterations to try next, if a run of `iterations` in `ms` milliseconds was too short to tell.
fn longer(iterations: u32, ms: f64) -> Option<u32> {
    if ms >= TARGET / 2.0 || iterations >= MAX_ITERATIONS {
        return None;
    }
    // A short run is mostly the submission, so it says little.
    let growth = (TARGET / ms.max(0.01)).clamp(2.0, 32.0);
    Some((f64::from(iterations) * growth).min(f64::from(MAX_ITERATIONS)) as u32)
}

/// 10⁹ bytes in a second, reads and writes both counted: by the queue's copy or a kernel, whichever is quicker.
async fn copies(gpu: &Gpu, timer: &Timer) -> Result<f64> {
    let (from, to) = copied(gpu).await?;
    let count = from.shape()[0];
    let bytes = 4 * count as u64;
    let mut best: f64 = 0.0;
    for by_kernel in [false, true] {
        // The first run compiles, and touches memory that was only promised so far.
        for _ in 0..=REPETITIONS {
            let recorded = timer.sample(|encoder| {
                if by_kernel {
                    let mut pass = Pass::begin(gpu, encoder, Submitter::Caller);
                    return cast(&mut pass, (from.slot(), DType::F32), (to.slot(), DType::F32), count);
                }
                encoder.copy_buffer_to_buffer(from.buffer(), 0, to.buffer(), 0, bytes);
                Ok(())
            });
            let gbytes =
                timer.milliseconds(&recorded.await?.1).map_or(0.0, |ms| 2.0 * bytes as f64 / ms * 1e-6);
            best = best.max(gbytes);
            if gbytes < HOPELESS * best {
                break;
            }
        }
    }
    positive(best)
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

/// A limit that something was measured for.
fn positive(limit: f64) -> Result<f64> {
    if limit.is_finite() && limit > 0.0 {
        return Ok(limit);
    }
    let message = "the roofline could not be measured: the adapter's timestamps contradict the wall clock";
    Err(Error::Gpu { operation: OPERATION, message: message.into() })
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
            assert!(iterations == MAX_ITERATIONS || ms >= TARGET / 2.0);
            assert!(iterations == 4 || ms < 2.5 * TARGET, "{rate}: {ms}");
        }
    }
}
