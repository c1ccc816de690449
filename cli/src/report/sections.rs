//! A section for each group of rows: its plots, then its table.

use maud::{Markup, html};

use super::chart::{Bar, Bars, Chart, Room, Value};
use super::compare::{Comparison, Group, Line, Run, Standing};
use super::scale::Scale;
use super::{format, linear, scaling, tables};

/// What a group is, for people: its heading and a sentence.
pub(crate) fn heading(group: &str) -> (&str, &'static str) {
    match group {
        "layer" => ("Layer", "The whole layer: projections, attention and output projection."),
        "prefill" => ("Prefill", "Attention over a whole prompt."),
        "causal" => ("Causal", "Attention where a query sees the keys up to its own."),
        "window" => ("Window", "Attention where a query sees the keys near its own."),
        "mask" => ("Mask", "Attention under masks that come as tensors, and under dropout."),
        "decode" => ("Decode", "Few queries over many keys, as when text is generated."),
        "scaling" => ("Scaling", "The same attention over more and more tokens."),
        "linear" => (
            "Linear",
            "One projection, as it is chosen for each adapter and, where they were measured, in each of its forms.",
        ),
        other => (other, ""),
    }
}

pub(crate) fn render(comparison: &Comparison, group: &Group, id: &str) -> Markup {
    let (title, sentence) = heading(&group.name);
    let (shapes, others) = linear::shapes(&group.lines);
    let (curves, others) = match group.name.as_str() {
        "scaling" => scaling::curves(others),
        _ => (Vec::new(), others),
    };
    html! {
        section id=(id) {
            h2 { (title) }
            @if !sentence.is_empty() { p.lead { (sentence) } }
            @if !curves.is_empty() {
                div.figures { @for curve in &curves { (scaling::render(comparison, curve)) } }
            }
            @if !others.is_empty() {
                div.figures { (times(comparison, &others)) (shares(comparison, &others)) }
            }
            @if !shapes.is_empty() { (linear::render(comparison, &shapes)) }
            (tables::render(comparison, group))
        }
    }
}

fn bars(comparison: &Comparison, lines: &[&Line], value: impl Fn(&Line, &Run) -> Option<Value>) -> Vec<Bars> {
    let of = |line: &Line| Bars {
        title: line.title.clone(),
        bars: comparison.runs.iter().map(|run| Bar { run: run.index, value: value(line, run) }).collect(),
    };
    lines.iter().map(|line| of(line)).collect()
}

fn times(comparison: &Comparison, lines: &[&Line]) -> Markup {
    let all = || lines.iter().flat_map(|line| line.cells.iter().flatten()).map(|row| row.time);
    let least = all().map(|time| time.min).fold(f64::INFINITY, f64::min);
    let most = all().map(|time| time.max).fold(0.0, f64::max);
    let medians: Vec<_> = all().map(|time| time.median).collect();
    let scale = Scale::fitting(&medians, least, most);
    let rows = bars(comparison, lines, |line, run| {
        let time = line.cells[run.index].as_ref()?.time;
        Some(Value {
            at: time.median,
            spread: Some([time.min, time.lower_quartile, time.upper_quartile, time.max]),
            text: format!("{} ms", format::ms(time.median)),
            best: comparison.standing(line, run) == Standing::Fastest,
        })
    });
    let description =
        format!("Median times of {}; the table below has them.", format::many(lines.len(), "row"));
    let chart = Chart { description, scale, ticks: 6, tick: format::tick, room: Room::Figure, rows };
    html! {
        figure {
            figcaption {
                b { "Median time in ms" } ", shorter is better"
                @if chart.scale.is_log() { "; " b { "logarithmic scale" } }
            }
            (chart.render())
        }
    }
}

fn shares(comparison: &Comparison, lines: &[&Line]) -> Markup {
    let all = lines.iter().flat_map(|line| line.cells.iter().flatten()).map(|row| row.share_of_roofline);
    let rows = bars(comparison, lines, |line, run| {
        let share = line.cells[run.index].as_ref()?.share_of_roofline;
        Some(Value { at: share, spread: None, text: format::percent(share), best: false })
    });
    let chart = Chart {
        description: format!(
            "Share of the roofline for {}; the table below has them.",
            format::many(lines.len(), "row")
        ),
        scale: Scale::linear(all.fold(1.0, f64::max)),
        ticks: 5,
        tick: format::share_tick,
        room: Room::Figure,
        rows,
    };
    html! {
        figure {
            figcaption { b { "Share of the adapter's own roofline" } ", longer is better" }
            (chart.render())
        }
    }
}
