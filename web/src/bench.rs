//! The benchmark suite.

use std::ops::ControlFlow;

use gqa::bench::{BenchResults, Cause, News, Progress, Suite, run};
use js_sys::{Function, Promise};
use serde_json::json;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{argument, coded, promise, to_js};
use crate::gpu::Gpu;

/// Runs a suite. `progress` gets each `BenchProgress` as JSON and returns true to go on; `name` is the adapter's in the results.
#[wasm_bindgen(js_name = runBench)]
pub fn run_bench(
    gpu: &Gpu,
    suite: &str,
    only: Option<String>,
    repetitions: Option<u32>,
    name: String,
    progress: Function,
) -> Result<Promise, JsValue> {
    let gpu = gpu.0.clone();
    let mut suite = match suite {
        "quick" => Suite::quick(),
        "full" => Suite::full(),
        other => return Err(argument("suite", "quick or full", &format!("`{other}`"))),
    };
    if let Some(part) = &only {
        suite = suite.only(part);
        if suite.cases.is_empty() {
            return Err(argument("only", "a part of the id or group of a case", &format!("`{part}`")));
        }
    }
    if let Some(repetitions) = repetitions {
        suite = suite.repeated(repetitions);
    }
    Ok(promise(async move {
        let tell = |news: Progress<'_>| {
            let goes_on = progress.call1(&JsValue::NULL, &told(&news).into());
            match goes_on.is_ok_and(|goes_on| goes_on.is_truthy()) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let results = match run(&gpu, &suite, tell).await {
            Ok(results) => results,
            Err(interrupted) => match (interrupted.results, interrupted.cause) {
                (Some(results), Cause::Cancelled) => *results,
                (_, Cause::Failed(error)) => return Err(to_js(error)),
                (None, Cause::Cancelled) => return Err(coded("cancelled", "nothing was measured yet")),
            },
        };
        text(results, name)
    }))
}

/// The file that `gqa bench` writes. Browsers have other names for adapters than the library sees.
fn text(mut results: BenchResults, name: String) -> Result<String, JsValue> {
    results.adapter.name = name;
    let text = serde_json::to_string_pretty(&results);
    Ok(text.map_err(|error| coded("internal", &error.to_string()))? + "\n")
}

fn told(progress: &Progress<'_>) -> String {
    let (message, row) = match progress.news {
        News::Limits => ("measuring the adapter's limits".into(), None),
        News::Measured(_) => ("the adapter's limits are measured".into(), None),
        News::Prepares(case) => (format!("preparing {}", case.title), None),
        News::Timed(case) => (format!("timing {}", case.title), None),
        News::Row(row) => (row.title.clone(), Some(row)),
        News::Skipped(case, reason) => (format!("{} skipped: {reason}", case.title), None),
    };
    let mut told = json!({ "done": progress.done, "total": progress.total, "message": message });
    if let Some(row) = row {
        told["row"] = serde_json::to_value(row).unwrap_or_default();
    }
    told.to_string()
}
