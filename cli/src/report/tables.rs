//! A table of a group: a row for each row id, a column for each run.

use gqa::bench::Row;
use maud::{Markup, html};

use super::chart::{badge, series};
use super::check;
use super::compare::{Comparison, Group, Line, Run, Standing};
use super::format;

pub(crate) fn render(comparison: &Comparison, group: &Group) -> Markup {
    // Roles stay where the style sheet turns rows into cards on narrow screens.
    html! {
        div.scroll role="region" tabindex="0" aria-label={ "Table of " (group.name) } {
            table role="table" style={ "--runs:" (comparison.runs.len()) } {
                thead role="rowgroup" {
                    tr role="row" {
                        th scope="col" role="columnheader" { "Median time" }
                        @for run in &comparison.runs {
                            th scope="col" role="columnheader" class=(series(run.index)) {
                                (badge(run)) " " (run.label.name)
                                @if !run.label.detail.is_empty() { span.detail { (run.label.detail) } }
                            }
                        }
                    }
                }
                tbody role="rowgroup" { @for line in &group.lines { (row(comparison, line)) } }
            }
        }
    }
}

fn row(comparison: &Comparison, line: &Line) -> Markup {
    html! {
        tr role="row" {
            th scope="row" role="rowheader" {
                span.title { (line.title) }
                span.shape { (format::shape(&line.work)) }
                code { (line.work.id) }
            }
            @for run in &comparison.runs { (cell(comparison, line, run)) }
        }
    }
}

fn cell(comparison: &Comparison, line: &Line, run: &Run) -> Markup {
    let standing = comparison.standing(line, run);
    html! {
        td role="cell" class=[(standing == Standing::Fastest).then_some("fastest")] {
            // Seen where columns have become lines.
            span.who { (badge(run)) " " span.hidden { (run.label) } " " }
            @match &line.cells[run.index] {
                Some(row) => { (measured(comparison, row, run, standing)) }
                None => {
                    span.absent {
                        "not measured" @if let Some(reason) = run.skip_reason(&line.work.id) { ": " (reason) }
                    }
                }
            }
        }
    }
}

fn measured(comparison: &Comparison, row: &Row, run: &Run, standing: Standing) -> Markup {
    let time = &row.time;
    html! {
        span.time { b { (format::ms(time.median)) } " ms" }
        (stands(comparison, run, standing))
        span.more {
            span {
                (format::ms(time.lower_quartile)) "–" (format::ms(time.upper_quartile)) " ms, "
                (format::many(time.repetitions as usize, "run"))
            }
            " "
            span {
                (format::gflops(row)) " GFLOP/s, " (format::percent(row.share_of_roofline)) " of "
                (check::bounds(row, &run.results.roofline).limit())
            }
            " "
            span { (row.variant) }
        }
    }
}

fn stands(comparison: &Comparison, run: &Run, standing: Standing) -> Markup {
    match standing {
        Standing::Alone => html! {},
        Standing::Fastest => html! { span.stands { span aria-hidden="true" { "★ " } "fastest" } },
        Standing::Behind { fastest, ratio, overlaps } => {
            let unlike = comparison.runs[fastest].results.timing != run.results.timing;
            html! {
                span.stands {
                    @if overlaps { "≈ " } (format::times(ratio)) @if unlike { "†" }
                }
            }
        }
    }
}
