//! The forms of a projection beside each other: for each shape and each run, how close a form comes to the roofline.

use maud::{Markup, html};

use super::chart::{Bar, Bars, Chart, Room, Value, badge};
use super::compare::{Comparison, Line, Run};
use super::scale::Scale;
use super::{format, sections};

/// One projection and its candidates.
struct Shape<'a> {
    title: String,
    forms: Vec<Form<'a>>,
}

struct Form<'a> {
    name: String,
    line: &'a Line,
}

pub(crate) fn render(comparison: &Comparison, lines: &[&Line]) -> Markup {
    html! {
        p.note {
            "Bars are shares of each adapter's own roofline, so they compare between adapters too; a star marks the best \
             form there."
        }
        @for shape in shapes(lines) {
            figure.wide.forms {
                figcaption {
                    b { (shape.title) } " — " (format::shape(&shape.forms[0].line.work)) ", "
                    (format::figure(shape.forms[0].line.work.flops / 1e9, 3)) " GFLOP"
                }
                div.blocks { @for run in &comparison.runs { (block(&shape, run)) } }
            }
        }
    }
}

/// Lines of the same work, in the order of their first.
fn shapes<'a>(lines: &[&'a Line]) -> Vec<Shape<'a>> {
    let mut groups: Vec<Vec<&Line>> = Vec::new();
    for &line in lines {
        match groups.iter_mut().find(|group| same(group[0], line)) {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    groups.iter().map(|group| shape(group)).collect()
}

/// Whether two lines are candidates for the same projection.
fn same(a: &Line, b: &Line) -> bool {
    let work =
        |line: &Line| (format::shape(&line.work), line.work.flops.to_bits(), line.work.bytes.to_bits());
    work(a) == work(b)
}

fn shape<'a>(lines: &[&'a Line]) -> Shape<'a> {
    let titles: Vec<_> = lines.iter().map(|line| line.work.title.as_str()).collect();
    let start = if lines.len() > 1 { format::common_start(&titles) } else { String::new() };
    let form = |&line: &&'a Line| {
        let rest = format::after(&line.work.title, &start);
        let name = match format::bare(&rest) {
            "" => line.work.variant.clone(),
            rest => rest.into(),
        };
        Form { name, line }
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
        Bars { title: form.name.clone(), bars: vec![Bar { run: run.index, value }] }
    };
    let chart = Chart {
        description: format!(
            "{} on {}: share of the roofline for each form; the table below has them.",
            shape.title, run.label
        ),
        scale: Scale::linear(largest),
        ticks: 3,
        tick: sections::share_tick,
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
