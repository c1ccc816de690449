//! Whether the figures of a file can be true: a page never shows one that can't.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, ensure};
use gqa::bench::{BenchResults, Roofline, Row, Spread};

use super::format;

/// Nothing that is measured lies outside, and inside no ratio or product of two figures overflows.
const PLAUSIBLE: RangeInclusive<f64> = 1e-30..=1e30;

/// How far a share of the roofline may be from what the file's own figures give.
const SHARE_TOLERANCE: f64 = 0.01;

/// Refuses results without rows, and figures that contradict themselves or each other.
pub(crate) fn results(results: &BenchResults) -> Result<()> {
    ensure!(!results.rows.is_empty(), "it has no rows");
    let Roofline { f32_gflops, copy_gbytes } = results.roofline;
    positive(&[("f32_gflops", f32_gflops), ("copy_gbytes", copy_gbytes)]).context("roofline")?;
    ensure!(
        format::date(results.started_unix).is_some(),
        "started_unix is {}, which is no date",
        results.started_unix
    );
    let mut ids = BTreeSet::new();
    for row in &results.rows {
        ensure!(!row.id.is_empty(), "it has a row without an id");
        ensure!(ids.insert(row.id.as_str()), "row `{}` is there twice", row.id);
        figures(row, &results.roofline).with_context(|| format!("row `{}`", row.id))?;
    }
    for (id, _) in &results.skipped {
        ensure!(!ids.contains(id.as_str()), "row `{id}` is both measured and skipped");
    }
    Ok(())
}

fn figures(row: &Row, roofline: &Roofline) -> Result<()> {
    let Spread { repetitions, min, lower_quartile, median, upper_quartile, max } = row.time;
    positive(&[
        ("time.min", min),
        ("time.lower_quartile", lower_quartile),
        ("time.median", median),
        ("time.upper_quartile", upper_quartile),
        ("time.max", max),
        ("flops", row.flops),
        ("bytes", row.bytes),
        ("share_of_roofline", row.share_of_roofline),
    ])?;
    ensure!(repetitions > 0, "it was timed 0 times");
    ensure!(
        [min, lower_quartile, median, upper_quartile, max].is_sorted(),
        "min ≤ lower quartile ≤ median ≤ upper quartile ≤ max does not hold for {min}, {lower_quartile}, {median}, \
         {upper_quartile}, {max}"
    );
    let share = bounds(row, roofline).least_ms() / median;
    ensure!(
        (row.share_of_roofline / share - 1.0).abs() <= SHARE_TOLERANCE,
        "share_of_roofline is {}, but its time, work and roofline give {share}",
        row.share_of_roofline
    );
    Ok(())
}

fn positive(figures: &[(&str, f64)]) -> Result<()> {
    for (name, figure) in figures {
        ensure!(
            PLAUSIBLE.contains(figure),
            "{name} is {figure:?}, not a positive number that can be measured"
        );
    }
    Ok(())
}

/// What each side of the roofline asks of a row, in milliseconds.
pub(crate) struct Bounds {
    arithmetic: f64,
    copying: f64,
}

/// The milliseconds that `row` takes at the least where `roofline` was measured.
pub(crate) fn bounds(row: &Row, roofline: &Roofline) -> Bounds {
    // 10⁹ a second are 10⁶ a millisecond.
    Bounds {
        arithmetic: row.flops / (roofline.f32_gflops * 1e6),
        copying: row.bytes / (roofline.copy_gbytes * 1e6),
    }
}

impl Bounds {
    fn least_ms(&self) -> f64 {
        self.arithmetic.max(self.copying)
    }

    /// Which limit the work meets first.
    pub(crate) fn limit(&self) -> &'static str {
        if self.arithmetic >= self.copying { "compute" } else { "bandwidth" }
    }
}
