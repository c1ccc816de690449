//! One case of a batch: warmed up, then timed again and again in turn with the others.

use super::case::Case;
use super::prepared::Prepared;
use super::timer::Timer;
use crate::{Gpu, Result};

/// Milliseconds that a timed submission should last: shorter runs are repeated within one, so that neither the resolution
/// of timestamps (a tenth of a millisecond in browsers) nor the cost of a submission counts.
const SUBMISSION: f64 = if cfg!(target_arch = "wasm32") { 10.0 } else { 4.0 };

/// The most runs in one submission.
const MOST_RUNS: f64 = 100.0;

/// A case that is being timed.
pub(super) struct Trial<'c> {
    pub(super) case: &'c Case,
    prepared: Prepared,
    variant: String,
    /// Runs in one submission.
    runs: u32,
    /// Milliseconds that a run took when warming up.
    expected: f64,
    /// Milliseconds of a run.
    times: Vec<f64>,
    gave_up: Option<String>,
}

/// What came of timing once.
pub(super) enum Timed {
    /// A time.
    Well,
    /// Timestamps that can't be true.
    Impossibly,
}

impl<'c> Trial<'c> {
    /// Uploads the case and runs it till it is compiled and warm.
    pub(super) async fn warm(gpu: &Gpu, case: &'c Case, tuned: bool, timer: &Timer) -> Result<Self> {
        let prepared = Prepared::new(gpu, case, tuned).await?;
        // Drivers compile when a pipeline is made, or when it first runs.
        timer.sample(|encoder| prepared.record(encoder)).await?;
        let (variant, sample) = timer.sample(|encoder| prepared.record(encoder)).await?;
        let expected = timer.milliseconds(&sample).unwrap_or(sample.wall());
        let runs = (SUBMISSION / expected).ceil().clamp(1.0, MOST_RUNS) as u32;
        Ok(Self { case, prepared, variant, runs, expected, times: Vec::new(), gave_up: None })
    }

    /// Milliseconds that a run took once it was warm.
    pub(super) fn expected(&self) -> f64 {
        self.expected
    }

    /// The path and the variants that ran.
    pub(super) fn variant(&self) -> &str {
        &self.variant
    }

    /// Milliseconds of a run, each time that it was timed.
    pub(super) fn times(&self) -> &[f64] {
        &self.times
    }

    /// Why it is not timed any more, if it can't be.
    pub(super) fn gave_up(&self) -> Option<&str> {
        self.gave_up.as_deref()
    }

    pub(super) fn give_up(&mut self, reason: String) {
        self.gave_up = Some(reason);
    }

    /// Whether it was timed less often than it must be, or for less than so many seconds.
    pub(super) fn wants_more(&self, least: u32, seconds: f64) -> bool {
        let spent = self.times.iter().sum::<f64>() * f64::from(self.runs) * 1e-3;
        self.gave_up.is_none() && (self.times.len() < least as usize || spent < seconds)
    }

    /// Times it once more.
    pub(super) async fn time(&mut self, timer: &Timer) -> Result<Timed> {
        let runs = self.runs;
        let all = |encoder: &mut wgpu::CommandEncoder| {
            (0..runs).try_for_each(|_| self.prepared.record(encoder).map(drop))
        };
        let ((), sample) = timer.sample(all).await?;
        Ok(match timer.milliseconds(&sample) {
            Some(ms) => {
                self.times.push(ms / f64::from(runs));
                Timed::Well
            }
            None => Timed::Impossibly,
        })
    }
}
