//! The page: what it holds, in order.

use std::collections::BTreeSet;

use gqa::bench::{BenchResults, Host, Timing};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{badge, series};
use super::compare::{Comparison, Group, Run};
use super::{adapters, format, overall, sections};

const STYLE: &str = include_str!("report.css");

/// Nothing may be loaded and nothing may run, whatever a file has smuggled in.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

pub(crate) fn render(comparison: &Comparison) -> Markup {
    let groups: Vec<_> =
        comparison.groups.iter().zip(1..).map(|(group, n)| (group, format!("group-{n}"))).collect();
    let title = title(comparison);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.eyebrow { "gqa report" }
                    h1 { (title) }
                    p.lead { (summary(comparison)) }
                    (contents(comparison, &groups))
                }
                (notices(comparison))
                @if comparison.runs.len() > 1 { (legend(comparison)) }
                main {
                    (overall::render(comparison))
                    (adapters::render(comparison))
                    @for (group, id) in &groups { (sections::render(comparison, group, id)) }
                    (reading(comparison))
                }
            }
        }
    }
}

fn title(comparison: &Comparison) -> String {
    match &comparison.runs[..] {
        [run] => format!("Grouped-query attention on {}", run.label.name),
        runs => format!("Grouped-query attention, {} runs compared", runs.len()),
    }
}

fn summary(comparison: &Comparison) -> String {
    let rows = format::many(comparison.lines().count(), "row");
    let groups = format::many(comparison.groups.len(), "group");
    let everywhere = comparison.lines().filter(|line| line.cells.iter().all(Option::is_some)).count();
    match comparison.runs.len() {
        1 => format!("{rows} in {groups}."),
        _ => format!("{rows} in {groups}, {} of them measured in every run.", format::count(everywhere)),
    }
}

fn contents(comparison: &Comparison, groups: &[(&Group, String)]) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul.contents {
                li { a href="#adapters" { @if comparison.runs.len() == 1 { "Adapter" } @else { "Adapters" } } }
                @for (group, id) in groups {
                    li { a href={ "#" (id) } { (sections::heading(&group.name).0) } }
                }
                li { a href="#reading" { "How to read this" } }
            }
        }
    }
}

/// The runs by number, always in sight.
fn legend(comparison: &Comparison) -> Markup {
    html! {
        nav.legend aria-label="Runs" tabindex="0" {
            @for run in &comparison.runs {
                a class=(series(run.index)) href={ "#" (adapters::id(run)) } {
                    (badge(run)) " " span.name { (run.label.name) }
                    @if !run.label.detail.is_empty() { ", " (run.label.detail) }
                }
            }
        }
    }
}

/// What has to be known before figures are compared.
fn notices(comparison: &Comparison) -> Markup {
    let which = |wanted: fn(&BenchResults) -> bool| -> Vec<&Run> {
        comparison.runs.iter().filter(|run| wanted(&run.results)).collect()
    };
    let incomplete = which(|results| !results.complete);
    let browser = which(|results| results.host == Host::Browser);
    let wall_clock = which(|results| results.timing == Timing::WallClock);
    let mixed = |runs: &[&Run]| !runs.is_empty() && runs.len() < comparison.runs.len();
    let versions: BTreeSet<_> = comparison.runs.iter().map(|run| run.results.gqa_version.as_str()).collect();
    let mut notices = Vec::new();
    if !incomplete.is_empty() {
        notices.push(html! { "Ended before every row was measured: " (badges(&incomplete)) });
    }
    if mixed(&browser) {
        notices.push(html! {
            "Measured in a browser: " (badges(&browser)) ". Its checks and timers differ, so browsers are compared with \
             browsers and native runs with native runs."
        });
    }
    if mixed(&wall_clock) {
        notices.push(html! {
            "Timed by wall clock, which includes the submission: " (badges(&wall_clock)) ". The others are timed by GPU \
             timestamps, and a ratio across the two has a †."
        });
    }
    if versions.len() > 1 {
        let versions: Vec<_> = versions.into_iter().collect();
        notices.push(html! { "Measured by different versions of gqa: " (versions.join(", ")) });
    }
    html! {
        @if !notices.is_empty() {
            ul.notices { @for notice in &notices { li { (notice) } } }
        }
    }
}

fn badges(runs: &[&Run]) -> Markup {
    html! { @for (i, run) in runs.iter().enumerate() { @if i > 0 { " " } (badge(run)) } }
}

fn reading(comparison: &Comparison) -> Markup {
    let several = comparison.runs.len() > 1;
    html! {
        section #reading {
            h2 { "How to read this" }
            dl.reading {
                dt { "Time" }
                dd {
                    "The median of repeated runs of the same work after warm-up. Under it is the middle half: a quarter of \
                     the times was shorter, a quarter longer. In plots a thick line is the middle half and a thin one \
                     reaches from the least to the most."
                }
                @if several {
                    dt { "★ and ×" }
                    dd {
                        "A star marks the shortest median of a row. The others say how many times as long they took; ≈ says \
                         that their middle half meets that of the fastest, so the difference may be chance."
                    }
                }
                dt { "GFLOP/s" }
                dd {
                    "10⁹ floating-point operations a second, of those that the work needs: what a causal mask or a window \
                     hides does not count."
                }
                dt { "Roofline" }
                dd {
                    "Each adapter's own limits as measured in the same run: f32 multiply-adds in registers (compute), and \
                     the bytes that a copy moves (bandwidth). The share is the least time that they allow for the work ÷ \
                     the median; “of compute” or “of bandwidth” says which of the two limits the work. It can pass 100% \
                     where data stays in caches or cooperative matrices calculate."
                }
                dt { "Sizes" }
                dd {
                    "B batch, T queries, S keys, H query heads over key/value heads, D width of a head, C width of the \
                     features."
                }
            }
        }
    }
}
