//! Running a suite: limits first, then batch after batch, and whatever happens the rows that are there are kept.

use std::ops::ControlFlow;

use web_time::{Instant, SystemTime};

use super::batch::{Timed, Trial};
use super::case::Case;
use super::record::{begin, row, share};
use super::roofline::Limits;
use super::suite::Suite;
use super::timer::Timer;
use super::work::{Estimator, is_affordable};
use super::{BenchResults, Row, Spread};
use crate::{Error, Gpu, Result};

/// What a suite that runs has to tell, and how far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// How many cases are done; those under way count in parts.
    pub done: f64,
    /// How many cases there are.
    pub total: usize,
    /// What just happened, or is about to.
    pub news: News<'a>,
}

/// What just happened, or is about to.
#[derive(Debug, Clone, Copy)]
pub enum News<'a> {
    /// The adapter's limits are about to be measured: some seconds.
    Limits,
    /// They are known, and nothing else yet.
    Measured(&'a BenchResults),
    /// A case is about to be prepared and run for the first time, which compiles its kernels.
    Prepares(&'a Case),
    /// A case was timed once more.
    Timed(&'a Case),
    /// A row is finished. Its share is of the limits as they are known by now: they are measured again between the groups,
    /// and shares in the results go by the highest.
    Row(&'a Row),
    /// A case was skipped, for this reason.
    Skipped(&'a Case, &'a str),
}

/// A suite that ended before its end.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{cause}; {} of {total} rows were measured", .results.as_ref().map_or(0, |results| results.rows.len()))]
pub struct Interrupted {
    /// Why.
    pub cause: Cause,
    /// What had been measured by then, `complete` being false; `None` if that is not even the adapter's limits.
    pub results: Option<Box<BenchResults>>,
    /// How many rows there would have been.
    pub total: usize,
}

/// Why a suite ended before its end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Cause {
    /// The caller wanted it to.
    #[error("cancelled")]
    Cancelled,
    /// The adapter vanished, or can't be measured.
    #[error("{0}")]
    Failed(#[from] Error),
}

/// Measures the limits of the adapter and every case of the suite.
///
/// Cases of a group are timed in turns, so that whatever else the machine does meets all of them alike. `on_progress` is
/// told what happens; when it says [`Break`](ControlFlow::Break) the run ends, and rows that have been timed often enough
/// are kept. A case that does not fit the adapter or would take too long is skipped and the reason recorded.
///
/// ```
/// # pollster::block_on(async {
/// let gpu = gqa::Gpu::from_env().await?;
/// let suite = gqa::bench::Suite::quick().only("linear/L2-key").repeated(2);
/// let results = gqa::bench::run(&gpu, &suite, |_| std::ops::ControlFlow::Continue(())).await?;
/// assert!(results.complete && results.rows[0].time.median > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub async fn run(
    gpu: &Gpu,
    suite: &Suite,
    mut on_progress: impl FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<BenchResults, Interrupted> {
    let total = suite.cases.len();
    let nothing = |cause| Interrupted { cause, results: None, total };
    let started_unix = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    if on_progress(Progress { done: 0.0, total, news: News::Limits }).is_break() {
        return Err(nothing(Cause::Cancelled));
    }
    let limits = async {
        let mut timer = Timer::new(gpu).await?;
        let limits = Limits::measure(gpu, &mut timer).await?;
        Ok((timer, limits))
    };
    let (timer, limits) = limits.await.map_err(|error| nothing(Cause::Failed(lost_or(gpu, error))))?;
    let results = begin(gpu, suite, started_unix, timer.timing(), limits.roofline);
    let mut run = Run {
        gpu,
        suite,
        timer,
        estimator: Estimator::new(limits.roofline),
        limits,
        start: Instant::now(),
        promised: 0.0,
        begun: 0,
        done: 0.0,
        results,
        on_progress,
    };
    match run.all().await {
        Ok(()) => {
            run.results.complete = true;
            Ok(run.results)
        }
        Err(cause) => Err(Interrupted { cause, results: Some(Box::new(run.results)), total }),
    }
}

/// The error, unless the device is lost: then that is the cause.
fn lost_or(gpu: &Gpu, error: Error) -> Error {
    gpu.check().err().filter(|error| matches!(error, Error::DeviceLost { .. })).unwrap_or(error)
}

/// A suite under way.
struct Run<'a, F> {
    gpu: &'a Gpu,
    suite: &'a Suite,
    timer: Timer,
    limits: Limits,
    estimator: Estimator,
    start: Instant,
    /// Seconds that the cases of this batch which are prepared will take.
    promised: f64,
    /// Cases that have been prepared or skipped, and the one that is.
    begun: usize,
    /// Cases that are done, in parts.
    done: f64,
    results: BenchResults,
    on_progress: F,
}

/// Bytes of the tensors that a batch may hold.
const BATCH_BYTES: f64 = (512u64 << 20) as f64;

impl<F: FnMut(Progress<'_>) -> ControlFlow<()>> Run<'_, F> {
    async fn all(&mut self) -> Result<(), Cause> {
        let results = self.results.clone();
        self.tell(News::Measured(&results))?;
        for batch in batches(&self.suite.cases) {
            let before = self.done;
            let mut trials = Vec::with_capacity(batch.len());
            // What ends the batch early does not end what it has.
            let ended = self.batch(batch, &mut trials).await;
            self.done = before + batch.len() as f64;
            let told = self.finish(trials);
            ended.and(told)?;
            self.measure_limits_again().await?;
        }
        Ok(())
    }

    /// What slowed the adapter down when its limits were measured may be over: shares of too low a limit would be wrong.
    async fn measure_limits_again(&mut self) -> Result<(), Cause> {
        let measured = self.limits.again(self.gpu, &self.timer).await;
        self.results.roofline = self.limits.roofline;
        for row in &mut self.results.rows {
            row.share_of_roofline = share(row.flops, row.bytes, &row.time, &self.results.roofline);
        }
        match measured.map_err(|error| lost_or(self.gpu, error)) {
            Err(lost @ Error::DeviceLost { .. }) => Err(lost.into()),
            // The limits that there are will do.
            _ => Ok(()),
        }
    }

    /// Prepares the cases of a batch, and times them in turns.
    async fn batch<'c>(&mut self, cases: &'c [Case], trials: &mut Vec<Trial<'c>>) -> Result<(), Cause> {
        let (least, most) = self.suite.repetitions;
        self.promised = 0.0;
        for case in cases {
            self.begun += 1;
            self.tell(News::Prepares(case))?;
            match self.prepare(case).await {
                Ok(trial) => trials.push(trial),
                Err(reason) => self.skip(case, reason)?,
            }
        }
        for _ in 0..most {
            for trial in trials.iter_mut().filter(|trial| trial.wants_more(least, self.suite.case_seconds)) {
                let timed = trial.time(&self.timer).await;
                self.done += 0.9 / f64::from(most);
                match timed {
                    Ok(Timed::Well) => {}
                    Ok(Timed::Impossibly) => trial.give_up(IMPOSSIBLE.into()),
                    Err(error) => match lost_or(self.gpu, error) {
                        lost @ Error::DeviceLost { .. } => return Err(lost.into()),
                        error => trial.give_up(error.to_string()),
                    },
                }
                self.tell(News::Timed(trial.case))?;
            }
        }
        Ok(())
    }

    /// Uploads a case and runs it till it is warm, unless that takes too long: then the reason.
    async fn prepare<'c>(&mut self, case: &'c Case) -> Result<Trial<'c>, Refusal> {
        self.check_time(self.seconds(case))?;
        let start = Instant::now();
        let trial = Trial::warm(self.gpu, case, self.suite.tuned, &self.timer).await;
        match trial {
            Ok(trial) => {
                let run = trial.expected() * 1e-3;
                self.estimator.learn(case, trial.expected(), start.elapsed().as_secs_f64() - 2.0 * run);
                // It may take longer than it was expected to.
                self.check_time(self.suite.seconds_of(run))?;
                self.promised += self.suite.seconds_of(run);
                Ok(trial)
            }
            Err(error) => match lost_or(self.gpu, error) {
                lost @ Error::DeviceLost { .. } => Err(Refusal::Stop(lost.into())),
                error => Err(error.to_string().into()),
            },
        }
    }

    /// Seconds that a case should take: preparation, two runs to warm up, and what is timed.
    fn seconds(&self, case: &Case) -> f64 {
        let run = self.estimator.run_ms(case) * 1e-3;
        self.estimator.preparation(case) + 2.0 * run + self.suite.seconds_of(run)
    }

    /// Fails where the case that has begun would take too long for those behind it.
    fn check_time(&self, seconds: f64) -> Result<(), Refusal> {
        let all = self.suite.seconds;
        let left = all - self.start.elapsed().as_secs_f64() - self.promised;
        let behind = self.suite.cases[self.begun..].iter().map(|case| self.seconds(case));
        if !is_affordable(seconds, behind, left) {
            return Err(
                format!("it would take about {seconds:.1} s, too long for the suite's {all} s").into()
            );
        }
        Ok(())
    }

    fn skip(&mut self, case: &Case, refusal: Refusal) -> Result<(), Cause> {
        match refusal {
            Refusal::Stop(cause) => Err(cause),
            Refusal::Skip(reason) => {
                self.results.skipped.push((case.id.clone(), reason.clone()));
                self.done += 0.9;
                self.tell(News::Skipped(case, &reason))
            }
        }
    }

    /// Makes rows of what was timed often enough.
    fn finish(&mut self, trials: Vec<Trial<'_>>) -> Result<(), Cause> {
        let mut told = Ok(());
        for trial in trials {
            let spread =
                Spread::of(trial.times()).filter(|spread| spread.repetitions >= self.suite.repetitions.0);
            let news = match (spread, trial.gave_up()) {
                (Some(spread), _) => {
                    self.results.rows.push(row(trial.case, spread, trial.variant(), &self.results.roofline));
                    self.results.rows.last().cloned().map(Ok)
                }
                (None, Some(reason)) => {
                    self.results.skipped.push((trial.case.id.clone(), reason.into()));
                    Some(Err(reason))
                }
                (None, None) => None,
            };
            let now = match &news {
                Some(Ok(row)) => self.tell(News::Row(row)),
                Some(Err(reason)) => self.tell(News::Skipped(trial.case, reason)),
                None => Ok(()),
            };
            told = told.and(now);
        }
        told
    }

    fn tell(&mut self, news: News<'_>) -> Result<(), Cause> {
        let progress = Progress { done: self.done, total: self.suite.cases.len(), news };
        match (self.on_progress)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Cause::Cancelled),
        }
    }
}

/// Why a case is not measured.
enum Refusal {
    /// It is skipped.
    Skip(String),
    /// Nothing more can be measured.
    Stop(Cause),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Skip(reason)
    }
}

const IMPOSSIBLE: &str = "its GPU timestamps contradict the wall clock";

/// The cases in runs of one group each, which fit the adapter together.
fn batches(cases: &[Case]) -> impl Iterator<Item = &[Case]> {
    let mut bytes = 0.0;
    cases.chunk_by(move |a, b| {
        bytes += a.bytes();
        let together = a.group == b.group && bytes + b.bytes() <= BATCH_BYTES;
        if !together {
            bytes = 0.0;
        }
        together
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_every_case_once_and_keep_groups_apart() {
        let cases = Suite::full().cases;
        let batches: Vec<_> = batches(&cases).collect();
        assert_eq!(batches.concat(), cases);
        for batch in &batches {
            assert!(batch.iter().all(|case| case.group == batch[0].group));
            assert!(batch.len() == 1 || batch.iter().map(Case::bytes).sum::<f64>() <= BATCH_BYTES);
        }
        assert!(batches.iter().any(|batch| batch.len() > 3));
    }
}
