//! Horizontal bars, one for each run under the title of each row.
//!
//! Places along the axis are percentages of the drawing and everything else is pixels, so a drawing takes the width there
//! is while its text keeps its size. What stands left of 0% and right of 100% stands in the padding of `.plot`.

use maud::{Markup, html};

use super::compare::Run;
use super::format;
use super::scale::Scale;

/// Pixels of the parts of a chart.
const AXIS: usize = 24;
const TITLE: usize = 20;
const BAR: usize = 18;
const GAP: usize = 10;

/// As many characters of a title as a phone has room for.
pub(crate) const TITLE_LENGTH: usize = 44;

/// Past so many pixels the axis is written at the end too.
const TALL: usize = 420;

pub(crate) struct Chart {
    /// For those who can't see it.
    pub(crate) description: String,
    pub(crate) scale: Scale,
    /// About how many figures are written along the axis.
    pub(crate) ticks: usize,
    /// How a figure on the axis is written.
    pub(crate) tick: fn(f64) -> String,
    pub(crate) room: Room,
    pub(crate) rows: Vec<Bars>,
}

/// How much is written after a bar.
#[derive(PartialEq)]
pub(crate) enum Room {
    Figure,
    Sentence,
}

/// The bars under one title.
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

/// One bar.
pub(crate) struct Bar {
    /// [`Run::index`]
    pub(crate) run: usize,
    /// What is drawn; none says that nothing was measured.
    pub(crate) value: Option<Value>,
}

pub(crate) struct Value {
    pub(crate) at: f64,
    /// Least, lower quartile, upper quartile, most.
    pub(crate) spread: Option<[f64; 4]>,
    /// Written after the bar.
    pub(crate) text: String,
    /// The best of those it is compared with: written with a star.
    pub(crate) best: bool,
}

/// A fraction of the width.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.2}%", fraction * 100.0)
}

/// The class that gives a run its colour.
pub(crate) fn series(run: usize) -> String {
    /// How many colours the style sheet has.
    const COLOURS: usize = 8;
    format!("s{}", run % COLOURS + 1)
}

/// The number that stands for a run, in its colour.
pub(crate) fn badge(run: &Run) -> Markup {
    html! { span class={ "badge " (series(run.index)) } { (run.number()) } }
}

impl Chart {
    pub(crate) fn render(&self) -> Markup {
        let heights = self.rows.iter().map(row_height);
        let tops = heights.scan(AXIS, |top, height| Some(std::mem::replace(top, *top + height)));
        let rows: usize = self.rows.iter().map(row_height).sum();
        let end = AXIS + rows;
        let tall = rows > TALL;
        let height = end + if tall { AXIS } else { 0 };
        html! {
            div.plot.roomy[self.room == Room::Sentence] {
                svg role="img" aria-label=(self.description) width="100%" height=(height) {
                    (self.axis(end, tall))
                    @for (row, top) in self.rows.iter().zip(tops) { (self.row(row, top)) }
                }
            }
        }
    }

    fn axis(&self, end: usize, tall: bool) -> Markup {
        html! {
            g.axis {
                @for tick in self.scale.ticks(self.ticks) {
                    @let x = percent(self.scale.place(tick));
                    line x1=(x) x2=(x) y1=(AXIS - 6) y2=(end) {}
                    text x=(x) y=(AXIS - 11) { ((self.tick)(tick)) }
                    @if tall { text x=(x) y=(end + 14) { ((self.tick)(tick)) } }
                }
            }
        }
    }

    fn row(&self, row: &Bars, top: usize) -> Markup {
        let title = format::shorten(&row.title, TITLE_LENGTH);
        html! {
            g.row {
                @if !row.title.is_empty() {
                    text.title x="0" dx="-24" y=(top + 14) { (title) @if title != row.title { title { (row.title) } } }
                }
                @for (i, bar) in row.bars.iter().enumerate() {
                    (self.bar(bar, top + title_height(row) + i * BAR))
                }
            }
        }
    }

    fn bar(&self, bar: &Bar, top: usize) -> Markup {
        let middle = top + BAR / 2;
        let classes = format!("mark {}", series(bar.run));
        html! {
            g class=(classes) {
                circle.disc cx="0" cy=(middle) r="7" transform="translate(-16)" {}
                text.number x="-16" y=(middle + 4) { (bar.run + 1) }
                @match &bar.value {
                    None => { text.absent x="0" dx="4" y=(middle + 4) { "not measured" } }
                    Some(value) => { (self.value(value, top)) }
                }
            }
        }
    }

    fn value(&self, value: &Value, top: usize) -> Markup {
        let place = |x: f64| percent(self.scale.place(x));
        let middle = top + BAR / 2;
        // A bar does not hide its spread, but a dot hides one that is no wider than itself.
        let spread = html! {
            @if let Some([least, lower, upper, most]) = value.spread {
                line.range x1=(place(least)) x2=(place(most)) y1=(middle) y2=(middle) {}
                line.quartiles x1=(place(lower)) x2=(place(upper)) y1=(middle) y2=(middle) {}
            }
        };
        let reach = value.spread.map_or(value.at, |[.., most]| most.max(value.at));
        html! {
            @if self.scale.is_log() {
                // Lengths on this scale mean nothing, so the end is marked and the way to it only hinted at.
                line.stem x1="0" x2=(place(value.at)) y1=(middle) y2=(middle) {}
                (spread)
                circle.dot cx=(place(value.at)) cy=(middle) r="5" {}
            } @else {
                rect.bar x="0" y=(top + 3) width=(place(value.at)) height=(BAR - 6) rx="1.5" {}
                (spread)
            }
            text class={ "value" @if value.best { " best" } } x=(place(reach)) dx="9" y=(middle + 4) {
                (value.text) @if value.best { " ★" }
            }
        }
    }
}

fn title_height(row: &Bars) -> usize {
    if row.title.is_empty() { 0 } else { TITLE }
}

fn row_height(row: &Bars) -> usize {
    title_height(row) + row.bars.len() * BAR + GAP
}
