//! Who was measured: a card for each run.

use gqa::bench::BenchResults;
use maud::{Markup, html};

use super::chart::badge;
use super::compare::{Comparison, Run};
use super::{format, labels};

pub(crate) fn render(comparison: &Comparison) -> Markup {
    html! {
        section #adapters {
            h2 { @if comparison.runs.len() == 1 { "Adapter" } @else { "Adapters" } }
            div.cards { @for run in &comparison.runs { (card(run)) } }
        }
    }
}

fn card(run: &Run) -> Markup {
    let BenchResults { adapter, roofline, .. } = &run.results;
    let driver = [adapter.driver.as_str(), &adapter.driver_info].join(" ");
    let driver = if driver.trim().is_empty() { "not told" } else { driver.trim() };
    let facts = [
        ("Backend", adapter.backend.clone()),
        ("Driver", driver.into()),
        ("Kind", device(&adapter.device_type).into()),
        ("Host", labels::host(run.results.host).into()),
        ("Times", labels::timing(run.results.timing).into()),
        ("Suite", format!("{}, {}", run.results.suite, format::many(run.results.rows.len(), "row"))),
        ("Measured", format!("{} UTC", format::minute(run.results.started_unix).unwrap_or_default())),
        ("By", format!("gqa {}", run.results.gqa_version)),
    ];
    html! {
        article.card id=(id(run)) {
            h3 { (badge(run)) " " (run.label.name) }
            @if !run.label.detail.is_empty() { p.detail { (run.label.detail) } }
            dl.roofline {
                div {
                    dt { "f32 compute" }
                    dd { b { (format::figure(roofline.f32_gflops, 3)) } " GFLOP/s" }
                }
                div {
                    dt { "copy bandwidth" }
                    dd { b { (format::figure(roofline.copy_gbytes, 3)) } " GB/s" }
                }
            }
            dl.facts { @for (name, fact) in &facts { dt { (name) } dd { (fact) } } }
            @if !run.results.complete {
                p.warning {
                    b { "Incomplete." } " The run ended before every row was measured; the rows shown are good."
                }
            }
            (skipped(run))
        }
    }
}

/// Where the card of a run is.
pub(crate) fn id(run: &Run) -> String {
    format!("adapter-{}", run.number())
}

fn device(device_type: &str) -> &str {
    match device_type {
        "DiscreteGpu" => "discrete GPU",
        "IntegratedGpu" => "integrated GPU",
        "VirtualGpu" => "virtual GPU",
        "Cpu" => "software (CPU)",
        "Other" => "other",
        unknown => unknown,
    }
}

/// What was not measured, the rows of one reason together.
fn skipped(run: &Run) -> Markup {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (id, reason) in &run.results.skipped {
        match reasons.iter_mut().find(|(known, _)| *known == reason.as_str()) {
            Some((_, ids)) => ids.push(id.as_str()),
            None => reasons.push((reason.as_str(), vec![id.as_str()])),
        }
    }
    html! {
        @if !reasons.is_empty() {
            p.skipped { b { (format::many(run.results.skipped.len(), "row")) " not measured" } }
            ul.skipped {
                @for (reason, ids) in &reasons {
                    li {
                        (reason) ": "
                        @for (i, id) in ids.iter().enumerate() { @if i > 0 { ", " } code { (id) } }
                    }
                }
            }
        }
    }
}
