//! The table, and the same as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::contender::Adapter;
use crate::measure::{Outcome, RowResult, Timing};

#[derive(Serialize)]
pub struct Report {
    pub adapter: Adapter,
    /// burn's version.
    pub burn: &'static str,
    /// Whether burn was allowed to compile to SPIR-V.
    pub spirv: bool,
    pub reps: usize,
    pub rows: Vec<Line>,
}

#[derive(Serialize)]
pub struct Line {
    #[serde(flatten)]
    result: RowResult,
    best_form: Option<&'static str>,
    burn_over_gqa: Option<f64>,
}

impl Line {
    pub fn new(result: RowResult) -> Self {
        let best = result.best().map(|(form, timing, _)| (form, timing.median_ms));
        Self {
            burn_over_gqa: best.as_ref().map(|(_, ms)| ms / result.gqa.median_ms),
            best_form: best.map(|(form, _)| form),
            result,
        }
    }
}

impl Report {
    /// Whether every row has a form of burn with the right numbers.
    pub fn is_complete(&self) -> bool {
        self.rows.iter().all(|line| line.best_form.is_some())
    }

    pub fn print(&self) {
        println!("\nmedians of {} in ms (min–max)\n", self.reps);
        println!("| row | gqa | burn | burn/gqa | max error | burn's form |");
        println!("|---|---|---|---|---|---|");
        for Line { result, burn_over_gqa, .. } in &self.rows {
            let (row, gqa) = (result.row, show(result.gqa));
            match (result.best(), burn_over_gqa) {
                (Some((form, timing, error)), Some(ratio)) => {
                    println!("| {row} | {gqa} | {} | {ratio:.2} | {error:.1e} | {form} |", show(timing));
                }
                _ => println!("| {row} | {gqa} | no form of burn gave gqa's numbers | | | |"),
            }
        }
        self.print_halves();
        println!("\nevery form\n");
        println!("| row | form | ms | max error |");
        println!("|---|---|---|---|");
        for Line { result, .. } in &self.rows {
            for form in &result.forms {
                let name = format!("| {} | {}", result.row, form.form);
                match &form.outcome {
                    Outcome::Timed { timing, max_error } => {
                        println!("{name} | {} | {max_error:.1e} |", show(*timing));
                    }
                    Outcome::Disagrees { max_error } => {
                        println!("{name} | WRONG NUMBERS | {max_error:.1e} |")
                    }
                    Outcome::Failed { reason } => println!("{name} | FAILED: {reason} | |"),
                }
            }
        }
    }

    /// gqa's training rows, forward and backward.
    fn print_halves(&self) {
        let halves: Vec<_> =
            self.rows.iter().filter_map(|line| Some((&line.result, line.result.gqa_forward?))).collect();
        if halves.is_empty() {
            return;
        }
        println!("\ngqa's halves: the forward one alone, and what the whole takes more\n");
        println!("| row | forward | backward | backward/forward |");
        println!("|---|---|---|---|");
        for (RowResult { row, gqa, .. }, forward) in halves {
            let backward = gqa.median_ms - forward.median_ms;
            println!("| {row} | {} | {backward:.1} | {:.2} |", show(forward), backward / forward.median_ms);
        }
    }

    /// Writes JSON. The file is there whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        fs::write(&beside, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&beside, path))
            .with_context(|| format!("could not write {}", path.display()))
    }
}

fn show(Timing { median_ms, min_ms, max_ms }: Timing) -> String {
    format!("{median_ms:.1} ({min_ms:.1}–{max_ms:.1})")
}
