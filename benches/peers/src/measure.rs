//! One row: warm-up and comparison of every contender, then the interleaved repetitions.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;

use crate::contender::{Contender, Named};

/// The largest difference from a result of gqa's, relative to the largest value in it, that counts as agreement.
pub const TOLERANCE: f64 = 1e-3;

/// Warm-up calls after the first, which compiles and tunes.
const SETTLING_RUNS: usize = 2;

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Timing {
    pub median_ms: f64,
    pub min_ms: f64,
    pub max_ms: f64,
}

impl Timing {
    fn of(mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        let middle = ms.len() / 2;
        let median_ms =
            if ms.len().is_multiple_of(2) { (ms[middle - 1] + ms[middle]) / 2.0 } else { ms[middle] };
        Self { median_ms, min_ms: ms[0], max_ms: ms[ms.len() - 1] }
    }
}

/// What became of one of burn's forms in a row.
#[derive(Debug, Serialize)]
pub struct FormResult {
    pub form: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    Timed {
        #[serde(flatten)]
        timing: Timing,
        max_error: f64,
    },
    /// Its numbers are not gqa's, so it was not timed.
    Disagrees {
        max_error: f64,
    },
    Failed {
        reason: String,
    },
}

#[derive(Debug, Serialize)]
pub struct RowResult {
    pub row: &'static str,
    pub gqa: Timing,
    /// The forward half alone, in training rows.
    pub gqa_forward: Option<Timing>,
    pub forms: Vec<FormResult>,
}

impl RowResult {
    /// burn's fastest form with the right numbers: its name, its time, its error.
    pub fn best(&self) -> Option<(&'static str, Timing, f64)> {
        let timed = self.forms.iter().filter_map(|form| match form.outcome {
            Outcome::Timed { timing, max_error } => Some((form.form, timing, max_error)),
            _ => None,
        });
        timed.min_by(|a, b| a.1.median_ms.total_cmp(&b.1.median_ms))
    }
}

/// Times `ours`, and its forward half if there is one, against each of `theirs`, turn by turn.
pub fn measure(
    row: &'static str,
    ours: &dyn Contender,
    forward: Option<&dyn Contender>,
    theirs: &[Box<dyn Contender>],
    reps: usize,
) -> Result<RowResult> {
    let expected = warm_up(row, ours)?;
    if let Some(forward) = forward {
        warm_up(row, forward)?;
    }
    let mut errors = Vec::new();
    for peer in theirs {
        let result = warm_up(row, peer.as_ref()).and_then(|got| max_error(&expected, &got));
        match &result {
            Ok(error) => eprintln!("{row}   max error {error:.1e}"),
            Err(error) => eprintln!("{row}   failed: {error:#}"),
        }
        errors.push(result);
    }

    let agreeing = theirs.iter().zip(&errors).filter(|(_, error)| matches!(error, Ok(e) if *e <= TOLERANCE));
    let turns: Vec<&dyn Contender> =
        std::iter::once(ours).chain(forward).chain(agreeing.map(|(peer, _)| peer.as_ref())).collect();
    let mut times = vec![Vec::with_capacity(reps); turns.len()];
    for rep in 0..reps {
        eprintln!("{row} repetition {} of {reps}", rep + 1);
        for turn in 0..turns.len() {
            // Each repetition starts with another contender, so that none always follows the same one.
            let i = (rep + turn) % turns.len();
            times[i].push(run(turns[i])?);
        }
    }

    let mut timings = times.into_iter().map(Timing::of);
    let gqa = timings.next().context("gqa has times")?;
    let gqa_forward = forward.map(|_| timings.next().context("the forward half has times")).transpose()?;
    let mut forms = Vec::new();
    for (peer, error) in theirs.iter().zip(errors) {
        let outcome = match error {
            Err(error) => Outcome::Failed { reason: format!("{error:#}") },
            Ok(max_error) if max_error <= TOLERANCE => {
                Outcome::Timed { timing: timings.next().context("each form has times")?, max_error }
            }
            Ok(max_error) => Outcome::Disagrees { max_error },
        };
        forms.push(FormResult { form: peer.name(), outcome });
    }
    Ok(RowResult { row, gqa, gqa_forward, forms })
}

/// The results of a contender that is ready to be timed.
fn warm_up(row: &str, contender: &dyn Contender) -> Result<Vec<Named>> {
    eprint!("{row} {}: ", contender.name());
    let start = Instant::now();
    // burn panics where a form cannot run; the others go on.
    let results = catch_unwind(AssertUnwindSafe(|| {
        let results = contender.results()?;
        let first = start.elapsed().as_secs_f64();
        let mut last = 0.0;
        for _ in 0..SETTLING_RUNS {
            last = run(contender)?;
        }
        eprintln!("first call {first:.1} s, then {last:.1} ms");
        Ok(results)
    }));
    results.unwrap_or_else(|panic| Err(anyhow!("panicked: {}", message(panic.as_ref()))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Milliseconds of one run.
fn run(contender: &dyn Contender) -> Result<f64> {
    let start = Instant::now();
    contender.run()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// The largest error of any result, relative to the largest expected value in it or in another result of its
/// [group](Named::group).
fn max_error(expected: &[Named], got: &[Named]) -> Result<f64> {
    ensure!(expected.len() == got.len(), "{} results, expected {}", got.len(), expected.len());
    let mut largest = 0.0f64;
    for (wanted, got) in expected.iter().zip(got) {
        ensure!(got.name == wanted.name, "{} where {} was expected", got.name, wanted.name);
        let group = expected.iter().filter(|other| other.group() == wanted.group());
        let scale = group.flat_map(|named| &named.values).fold(0.0, |max: f32, value| max.max(value.abs()));
        let error = difference(&wanted.values, &got.values)? / f64::from(scale);
        ensure!(error.is_finite(), "the expected values of {} are all zero", wanted.name);
        if error > TOLERANCE {
            eprintln!("  {} is off by {error:.1e}", wanted.name);
        }
        largest = largest.max(error);
    }
    Ok(largest)
}

/// The largest difference.
fn difference(expected: &[f32], got: &[f32]) -> Result<f64> {
    ensure!(expected.len() == got.len(), "{} values, expected {}", got.len(), expected.len());
    let mut largest = 0.0f64;
    for (&expected, &got) in expected.iter().zip(got) {
        ensure!(expected.is_finite() && got.is_finite(), "{got} where {expected} was expected");
        largest = largest.max((f64::from(expected) - f64::from(got)).abs());
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(expected: &[f32], got: &[f32]) -> Result<f64> {
        max_error(&[Named::new("dq", expected.to_vec())], &[Named::new("dq", got.to_vec())])
    }

    #[test]
    fn errors_are_seen() {
        assert_eq!(error(&[1.0, -4.0], &[1.0, -4.0]).unwrap(), 0.0);
        assert_eq!(error(&[1.0, -4.0], &[3.0, -4.0]).unwrap(), 0.5);
        assert!(error(&[1.0, -4.0], &[f32::NAN, -4.0]).is_err());
        assert!(error(&[1.0, -4.0], &[1.0]).is_err());
        assert!(error(&[0.0], &[0.0]).is_err());
    }

    #[test]
    fn the_worst_result_counts() {
        let named = |a, b| vec![Named::new("dq", vec![1.0, a]), Named::new("dk", vec![100.0, b])];
        assert_eq!(max_error(&named(0.0, 0.0), &named(0.5, 0.0)).unwrap(), 0.5);
        assert_eq!(max_error(&named(0.0, 0.0), &named(0.0, 1.0)).unwrap(), 0.01);
        assert!(max_error(&named(0.0, 0.0), &named(0.0, 0.0)[..1]).is_err());
        let swapped: Vec<_> = named(0.0, 0.0).into_iter().rev().collect();
        assert!(max_error(&named(0.0, 0.0), &swapped).is_err());
    }

    #[test]
    fn a_bias_without_a_gradient_is_measured_by_its_kernel() {
        let named = |bias| vec![Named::new("key/kernel", vec![10.0]), Named::new("key/bias", vec![bias])];
        assert!(max_error(&named(1e-6), &named(-1e-6)).unwrap() < 1e-6);
        assert_eq!(max_error(&named(1.0), &named(2.0)).unwrap(), 0.1);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Timing::of(vec![9.0, 1.0, 2.0]).median_ms, 2.0);
        assert_eq!(Timing::of(vec![9.0, 1.0, 2.0, 4.0]).median_ms, 3.0);
    }
}
