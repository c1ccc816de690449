//! The page in one glance: who is fastest, over the work that all did.

use gqa::bench::{Host, RowKind};
use maud::{Markup, html};

use super::chart::{Bar, Bars, Chart, Room, TITLE_LENGTH, Value};
use super::compare::{Comparison, Line, Run, Standing};
use super::scale::Scale;
use super::{format, labels};

/// A chart for each kind of host that several runs share.
pub(crate) fn render(comparison: &Comparison) -> Markup {
    let hosts = [Host::Native, Host::Browser].map(|host| (host, comparison.on(host)));
    let several: Vec<_> = hosts.into_iter().filter(|(_, runs)| runs.len() > 1).collect();
    html! {
        @if !several.is_empty() {
            section #overall {
                h2 { "Overall" }
                @for (host, runs) in &several { (one(comparison, *host, runs)) }
            }
        }
    }
}

fn one(comparison: &Comparison, host: Host, runs: &[&Run]) -> Markup {
    // Candidates for a projection are not work that a model does.
    let shared = |line: &&Line| {
        line.work.kind != RowKind::Linear && runs.iter().all(|run| line.cells[run.index].is_some())
    };
    let lines: Vec<_> = comparison.lines().filter(shared).collect();
    let everyone = match runs.len() {
        2 => "both".into(),
        n => format!("all {n}"),
    };
    let everyone = match comparison.runs.iter().any(|run| run.results.host != host) {
        true => format!("{everyone} {} runs", labels::host(host)),
        false => everyone,
    };
    if lines.is_empty() {
        return html! { p { "No row of a layer or of attention was measured by " (everyone) "." } };
    }
    let mut means: Vec<_> =
        runs.iter().map(|run| (*run, mean(comparison, &lines, run), wins(comparison, &lines, run))).collect();
    means.sort_by(|a, b| a.1.total_cmp(&b.1));
    let best = means.first().map_or(1.0, |(_, mean, _)| *mean);
    let timing = means.first().map(|(run, ..)| run.results.timing);
    let unlike = |run: &Run| if Some(run.results.timing) == timing { "" } else { "†" };
    let ratios: Vec<_> = means.iter().map(|(_, mean, _)| *mean).collect();
    let largest = ratios.iter().copied().fold(1.0, f64::max);
    let bar = |&(run, mean, won): &(&Run, f64, usize)| Bars {
        title: run.label.shortened(TITLE_LENGTH).to_string(),
        bars: vec![Bar {
            run: run.index,
            value: Some(Value {
                at: mean,
                spread: None,
                text: format!("{}{}, fastest in {}", format::times(mean), unlike(run), format::count(won)),
                best: mean <= best,
            }),
        }],
    };
    let said: Vec<_> =
        means.iter().map(|(run, mean, _)| format!("{}: {}", run.label, format::times(*mean))).collect();
    let chart = Chart {
        description: format!("Typical time relative to the fastest. {}.", said.join("; ")),
        scale: Scale::fitting(&ratios, 1.0, largest),
        ticks: 5,
        tick: |x| format!("{}×", format::tick(x)),
        room: Room::Sentence,
        rows: means.iter().map(bar).collect(),
    };
    html! {
        figure.wide {
            figcaption {
                b { "Typical time relative to the fastest" }
                " — geometric mean over the " (format::many(lines.len(), "row")) " of layers and attention that "
                (everyone) " measured, and in how many of them it was the fastest"
                @if chart.scale.is_log() { "; logarithmic scale" } "."
            }
            (chart.render())
        }
    }
}

fn mean(comparison: &Comparison, lines: &[&Line], run: &Run) -> f64 {
    let ratios = lines.iter().map(|line| match comparison.standing(line, run) {
        Standing::Behind { ratio, .. } => ratio,
        Standing::Fastest | Standing::Alone => 1.0,
    });
    (ratios.map(f64::ln).sum::<f64>() / lines.len() as f64).exp()
}

fn wins(comparison: &Comparison, lines: &[&Line], run: &Run) -> usize {
    lines.iter().filter(|line| comparison.standing(line, run) == Standing::Fastest).count()
}
