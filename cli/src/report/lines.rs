//! Lines over growing lengths, one for each run, with its number after its last point.
//!
//! Across, places are percentages as in `chart`; up and down they are pixels.

use maud::{Markup, html};

use super::chart::{percent, series};
use super::format;
use super::scale::Scale;

/// Pixels: the height of the drawing, where the lines begin and end in it, and how far apart two numbers are.
const HEIGHT: f64 = 290.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 260.0;
const APART: f64 = 17.0;

/// As many lengths as are written along the axis.
const LENGTHS: usize = 6;

pub(crate) struct Lines {
    /// For those who can't see it.
    pub(crate) description: String,
    /// What grows: `T` or `S`.
    pub(crate) axis: &'static str,
    /// At least two, rising.
    pub(crate) lengths: Vec<usize>,
    pub(crate) scale: Scale,
    /// How a figure on the upright axis is written.
    pub(crate) tick: fn(f64) -> String,
    /// The points of each run, by [`super::compare::Run::index`].
    pub(crate) runs: Vec<Vec<Point>>,
}

pub(crate) struct Point {
    pub(crate) length: usize,
    pub(crate) at: f64,
    /// Least and most.
    pub(crate) range: Option<[f64; 2]>,
    pub(crate) text: String,
}

impl Lines {
    pub(crate) fn render(&self) -> Markup {
        html! {
            div.plot.lines {
                svg role="img" aria-label=(self.description) width="100%" height=(HEIGHT) {
                    (self.axes())
                    @for (run, points) in self.runs.iter().enumerate() { (self.line(run, points)) }
                    (self.numbers())
                }
            }
        }
    }

    fn x(&self, length: usize) -> String {
        let [first, .., last] = self.lengths[..] else { return percent(0.5) };
        percent(Scale::Log { start: first as f64, end: last as f64 }.place(length as f64))
    }

    fn y(&self, at: f64) -> f64 {
        BOTTOM - self.scale.place(at) * (BOTTOM - TOP)
    }

    fn axes(&self) -> Markup {
        let every = self.lengths.len().div_ceil(LENGTHS);
        html! {
            g.axis {
                @for tick in self.scale.ticks(7) {
                    @let y = pixels(self.y(tick));
                    line x1="0" x2="100%" y1=(y) y2=(y) {}
                    text.left x="0" dx="-10" y=(y) dy="4" { ((self.tick)(tick)) }
                }
                // From the last, so that the longest is always written.
                @for (i, length) in self.lengths.iter().rev().enumerate() {
                    line x1=(self.x(*length)) x2=(self.x(*length)) y1=(TOP) y2=(BOTTOM + 5.0) {}
                    @if i % every == 0 {
                        text x=(self.x(*length)) y=(BOTTOM + 20.0) { (format::count(*length)) }
                    }
                }
            }
        }
    }

    fn line(&self, run: usize, points: &[Point]) -> Markup {
        html! {
            g class={ "mark " (series(run)) } {
                @for pair in points.windows(2) {
                    line.curve x1=(self.x(pair[0].length)) y1=(pixels(self.y(pair[0].at)))
                        x2=(self.x(pair[1].length)) y2=(pixels(self.y(pair[1].at))) {}
                }
                @for point in points {
                    @let x = self.x(point.length);
                    @if let Some([least, most]) = point.range {
                        line.whisker x1=(x) y1=(pixels(self.y(least))) x2=(x) y2=(pixels(self.y(most))) {}
                    }
                    svg.point x=(x) y=(pixels(self.y(point.at))) {
                        path d=(SHAPES[run % SHAPES.len()]) {
                            title { (run + 1) ": " (self.axis) " " (format::count(point.length)) ", " (point.text) }
                        }
                    }
                }
            }
        }
    }

    fn numbers(&self) -> Markup {
        let ends = self.runs.iter().enumerate().filter_map(|(run, points)| Some((run, points.last()?)));
        let ends: Vec<_> = ends.collect();
        let places = spread_out(&ends.iter().map(|(_, end)| self.y(end.at)).collect::<Vec<_>>());
        html! {
            @for ((run, end), y) in ends.iter().zip(places) {
                g class={ "mark " (series(*run)) } {
                    svg.point x=(self.x(end.length)) y=(pixels(y)) {
                        circle.disc cx="18" cy="0" r="7" {}
                        text.number x="18" y="4" { (run + 1) }
                    }
                }
            }
        }
    }
}

fn pixels(y: f64) -> String {
    format!("{y:.1}")
}

/// Heights near `wanted`, in its order, no two closer than [`APART`], and within the drawing if they fit.
fn spread_out(wanted: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut places = wanted.to_vec();
    for pair in order.windows(2) {
        places[pair[1]] = places[pair[1]].max(places[pair[0]] + APART);
    }
    // What was pushed past the end pushes back.
    let mut end = BOTTOM;
    for &i in order.iter().rev() {
        places[i] = places[i].min(end);
        end = places[i] - APART;
    }
    places
}

/// Marks that differ in more than colour.
const SHAPES: [&str; 8] = [
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0",
    "M-4 -4h8v8h-8z",
    "M0 -5.2L5 4H-5z",
    "M0 -5.6L5.6 0L0 5.6L-5.6 0z",
    "M0 5.2L5 -4H-5z",
    "M-1.7 -5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",
    "M-5 -2.5L0 -5.5L5 -2.5V2.5L0 5.5L-5 2.5z",
    "M-5.5 -2.5h11v5h-11z",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_apart_and_inside() {
        assert_eq!(spread_out(&[100.0, 200.0]), [100.0, 200.0]);
        assert_eq!(spread_out(&[101.0, 100.0]), [117.0, 100.0]);
        assert_eq!(spread_out(&[BOTTOM, BOTTOM]), [BOTTOM - APART, BOTTOM]);
    }
}
