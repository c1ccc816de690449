//! The forms of a projection beside each other: for each shape and each run, how close a form comes to the roofline.

use gqa::bench::RowKind;
use maud::{Markup, html};

use super::chart::{Bar, Bars, Chart, Room, Value, badge};
use super::compare::{Comparison, Line, Run};
use super::format;
use super::scale::Scale;

/// One projection and its candidates.
pub(crate) struct Shape<'a> {
    title: String,
    forms: Vec<Form<'a>>,
}

pub(crate) struct Form<'a> {
    /// None is the form that calls take, which may differ between adapters.
    name: Option<String>,
    line: &'a Line,
}

pub(crate) fn render(comparison: &Comparison, shapes: &[Shape]) -> Markup {
    html! {
        p.note {
            "Where a projection was measured in several forms, bars are shares of each adapter's own roofline, and a star \
             marks the best form there."
        }
        @for shape in shapes {
            figure.wide.forms {
                figcaption {
                    b { (shape.title) } " — " (format::shape(&shape.forms[0].line.work)) ", "
                    (format::figure(shape.forms[0].line.work.flops / 1e9, 3)) " GFLOP"
                }
                div.blocks { @for run in &comparison.runs { (block(shape, run)) } }
            }
        }
    }
}

/// The projections in `lines` that have several forms, and all other lines.
pub(crate) fn shapes(lines: &[Line]) -> (Vec<Shape<'_>>, Vec<&Line>) {
    let (projections, mut others): (Vec<&Line>, Vec<&Line>) =
        lines.iter().partition(|line| line.work.kind == RowKind::Linear);
    let mut groups: Vec<Vec<&Line>> = Vec::new();
    for line in projections {
        match groups.iter_mut().find(|group| same(group[0], line)) {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    let (several, single): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.len() > 1);
    others.extend(single.concat());
    (several.iter().map(|group| shape(group)).collect(), others)
}

/// Whether two lines are candidates for the same projection.
fn same(a: &Line, b: &Line) -> bool {
    let work =
        |line: &Line| (format::shape(&line.work), line.work.flops.to_bits(), line.work.bytes.to_bits());
    work(a) == work(b)
}

fn shape<'a>(lines: &[&'a Line]) -> Shape<'a> {
    let titles: Vec<_> = lines.iter().map(|line| line.work.title.as_str()).collect();
    let start = format::common_start(&titles);
    let rest = |line: &Line| format::bare(&format::after(&line.work.title, &start)).to_owned();
    let unnamed = lines.iter().filter(|line| rest(line).is_empty()).count();
    let form = |&line: &&'a Line| match rest(line) {
        rest if !rest.is_empty() => Form { name: Some(rest), line },
        _ if unnamed > 1 => Form { name: Some(line.title.clone()), line },
        _ => Form { name: None, line },
    };
    let title = match format::bare(&start) {
        "" => titles[0],
        start => start,
    };
    Shape { title: title.into(), forms: lines.iter().map(form).collect() }
}

/// The forms on one adapter.
fn block(shape: &Shape, run: &Run) -> Markup {
    let rows = || shape.forms.iter().map(|form| form.line.cells[run.index].as_ref());
    let best = rows().flatten().map(|row| row.time.median).fold(f64::INFINITY, f64::min);
    let several = rows().flatten().count() > 1;
    let largest = shape.forms.iter().flat_map(|form| form.line.cells.iter().flatten());
    let largest = largest.map(|row| row.share_of_roofline).fold(1.0, f64::max);
    let bars = |form: &Form| {
        let row = form.line.cells[run.index].as_ref();
        let value = row.map(|row| Value {
            at: row.share_of_roofline,
            spread: None,
            text: format!("{} GFLOP/s", format::gflops(row)),
            best: several && row.time.median <= best,
        });
        let chosen = || row.map_or("as chosen".into(), |row| format!("as chosen: {}", row.variant));
        Bars { title: form.name.clone().unwrap_or_else(chosen), bars: vec![Bar { run: run.index, value }] }
    };
    let chart = Chart {
        description: format!(
            "{} on {}: share of the roofline for each form; the table below has them.",
            shape.title, run.label
        ),
        scale: Scale::linear(largest),
        ticks: 3,
        tick: format::share_tick,
        room: Room::Figure,
        rows: shape.forms.iter().map(bars).collect(),
    };
    html! {
        div.block {
            p.who { (badge(run)) " " (run.label) }
            (chart.render())
        }
    }
}
