//! How time grows with the number of tokens: rows that differ in nothing but their length.

use gqa::bench::{Row, RowKind};
use maud::{Markup, html};

use super::chart::badge;
use super::compare::{Comparison, Line, Run};
use super::format;
use super::lines::{Lines, Point};
use super::scale::Scale;

/// Rows that differ in their length alone.
pub(crate) struct Curve<'a> {
    title: String,
    /// `T` or `S`: which length grows.
    axis: &'static str,
    /// By their length; no two are of the same.
    members: Vec<(usize, &'a Line)>,
}

/// The curves in `lines`, and the lines that are in none.
pub(crate) fn curves(lines: Vec<&Line>) -> (Vec<Curve<'_>>, Vec<&Line>) {
    let mut families: Vec<Vec<&Line>> = Vec::new();
    for line in lines {
        let related = |family: &&mut Vec<&Line>| family.iter().all(|other| related(&line.work, &other.work));
        match families.iter_mut().find(related) {
            Some(family) => family.push(line),
            None => families.push(vec![line]),
        }
    }
    let (mut curves, mut others) = (Vec::new(), Vec::new());
    for family in families {
        match curve(&family) {
            Some(curve) => curves.push(curve),
            None => others.extend(family),
        }
    }
    (curves, others)
}

/// Whether nothing but lengths tells two rows apart: in their sizes, and in the numbers of their ids.
fn related(a: &Row, b: &Row) -> bool {
    let sizes = |row: &Row| {
        (row.batch, row.query_heads, row.key_heads, row.head_dim, row.features, row.kind == RowKind::Layer)
    };
    let [one, other] = [a, b].map(|row| parts(&row.id));
    let is_length =
        |part: &str, row: &Row| part.parse().is_ok_and(|n: usize| n == row.query_len || n == row.key_len);
    let mut pairs = one.iter().zip(&other);
    a.dtype == b.dtype
        && sizes(a) == sizes(b)
        && one.len() == other.len()
        && pairs.all(|(x, y)| x == y || is_length(x, a) && is_length(y, b))
}

/// An id cut between its numbers and the rest.
fn parts(id: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for c in id.chars() {
        let goes_on =
            |part: &String| part.ends_with(|last: char| last.is_ascii_digit() == c.is_ascii_digit());
        match parts.last_mut().filter(|part| goes_on(part)) {
            Some(part) => part.push(c),
            None => parts.push(c.into()),
        }
    }
    parts
}

/// The id of a family, with an ellipsis where its members differ.
fn common_id(family: &[&Line]) -> String {
    let mut common = parts(&family[0].work.id);
    for line in family {
        for (part, own) in common.iter_mut().zip(parts(&line.work.id)) {
            if *part != own {
                *part = "…".into();
            }
        }
    }
    common.concat()
}

fn curve<'a>(family: &[&'a Line]) -> Option<Curve<'a>> {
    let query_grows = family.iter().any(|line| line.work.query_len != family[0].work.query_len);
    let length = |line: &Line| if query_grows { line.work.query_len } else { line.work.key_len };
    let mut members: Vec<_> = family.iter().map(|&line| (length(line), line)).collect();
    members.sort_by_key(|(length, _)| *length);
    let rises = members.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !rises || members.len() < 2 || members[0].0 == 0 {
        return None;
    }
    let axis = if query_grows { "T" } else { "S" };
    let titles: Vec<_> = family.iter().map(|line| line.work.title.as_str()).collect();
    let common = format::common_words(&titles);
    let title = match format::bare(format::bare(&common).trim_end_matches(&format!(" {axis}"))) {
        "" => common_id(family),
        title => title.into(),
    };
    Some(Curve { title, axis, members })
}

impl Curve<'_> {
    /// Lengths and rows that a run measured.
    fn rows(&self, run: &Run) -> Vec<(usize, &Row)> {
        let rows = self.members.iter();
        rows.filter_map(|(length, line)| Some((*length, line.cells[run.index].as_ref()?))).collect()
    }

    fn lines(
        &self,
        comparison: &Comparison,
        what: &str,
        scale: Scale,
        tick: fn(f64) -> String,
        point: fn(usize, &Row) -> Point,
    ) -> Lines {
        let of = |run: &Run| self.rows(run).into_iter().map(|(length, row)| point(length, row)).collect();
        Lines {
            description: format!(
                "{}: {what} over {}; the table below has the figures.",
                self.title, self.axis
            ),
            axis: self.axis,
            lengths: self.members.iter().map(|(length, _)| *length).collect(),
            scale,
            tick,
            runs: comparison.runs.iter().map(of).collect(),
        }
    }
}

/// Two figures: time, and share of the roofline.
pub(crate) fn render(comparison: &Comparison, curve: &Curve) -> Markup {
    let rows = || comparison.runs.iter().flat_map(|run| curve.rows(run)).map(|(_, row)| row);
    let least = rows().map(|row| row.time.min).fold(f64::INFINITY, f64::min);
    let most = rows().map(|row| row.time.max).fold(0.0, f64::max);
    let times =
        curve.lines(comparison, "median time", Scale::log(least, most), format::tick, |length, row| Point {
            length,
            at: row.time.median,
            range: Some([row.time.min, row.time.max]),
            text: format!("{} ms", format::ms(row.time.median)),
        });
    let largest = rows().map(|row| row.share_of_roofline).fold(1.0, f64::max);
    let shares = curve.lines(
        comparison,
        "share of the roofline",
        Scale::linear(largest),
        format::share_tick,
        |length, row| Point {
            length,
            at: row.share_of_roofline,
            range: None,
            text: format::percent(row.share_of_roofline),
        },
    );
    html! {
        figure {
            figcaption { b { (curve.title) ", median time in ms" } " over " (curve.axis) "; " b { "both logarithmic" } }
            (times.render())
            ul.exponents { @for run in &comparison.runs { (exponent_of(curve, run)) } }
        }
        figure {
            figcaption { b { (curve.title) ", share of the adapter's own roofline" } " over " (curve.axis) }
            (shares.render())
        }
    }
}

fn exponent_of(curve: &Curve, run: &Run) -> Markup {
    let points: Vec<_> =
        curve.rows(run).into_iter().map(|(length, row)| (length as f64, row.time.median)).collect();
    html! {
        li {
            (badge(run)) " "
            @match exponent(&points) {
                Some(exponent) => {
                    "time ∝ " (curve.axis) sup { (format!("{exponent:.2}")) }
                    span.small { " over " (format::many(points.len(), "length")) }
                }
                None => { span.small { "too few lengths for an exponent" } }
            }
        }
    }
}

/// The least-squares slope of ln y over ln x; none with fewer than three different x.
fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mut different: Vec<_> = points.iter().map(|(x, _)| *x).collect();
    different.sort_by(f64::total_cmp);
    different.dedup();
    if different.len() < 3 {
        return None;
    }
    let n = logs.len() as f64;
    let (mean_x, mean_y) =
        (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let (above, below) = logs.iter().fold((0.0, 0.0), |(above, below), (x, y)| {
        (above + (x - mean_x) * (y - mean_y), below + (x - mean_x) * (x - mean_x))
    });
    Some(above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_is_the_slope_on_logarithmic_axes() {
        let square: Vec<_> = [128.0, 256.0, 1024.0].map(|t| (t, 3e-5 * t * t)).into();
        assert!(exponent(&square).is_some_and(|power| (power - 2.0).abs() < 1e-12));
        let noisy = [(1.0, 1.0), (2.0, 2.0 * 1.1), (4.0, 4.0 / 1.1), (8.0, 8.0)];
        assert!(exponent(&noisy).is_some_and(|power| (power - 1.0).abs() < 0.1));
        assert_eq!(exponent(&square[..2]), None);
        assert_eq!(exponent(&[(2.0, 1.0), (2.0, 2.0), (4.0, 1.0)]), None);
    }

    #[test]
    fn rows_are_related_if_their_lengths_alone_differ() {
        let row = |id: &str, length: usize| Row {
            id: id.into(),
            kind: RowKind::Attention,
            group: "scaling".into(),
            title: id.into(),
            dtype: "f32".into(),
            batch: 1,
            query_len: length,
            key_len: length,
            query_heads: 8,
            key_heads: 2,
            head_dim: 64,
            features: 0,
            variant: String::new(),
            time: gqa::bench::Spread {
                repetitions: 1,
                min: 1.0,
                lower_quartile: 1.0,
                median: 1.0,
                upper_quartile: 1.0,
                max: 1.0,
            },
            flops: 1.0,
            bytes: 1.0,
            share_of_roofline: 1.0,
        };
        let cases = [
            ("causal/T512", 512, "causal/T1024", 1024, true),
            ("window-512/T512", 512, "window-512/T1024", 1024, true),
            ("window-512/T1024", 1024, "window-256/T1024", 1024, false),
            ("causal/T512", 512, "full/T1024", 1024, false),
        ];
        for (a, t, b, u, expected) in cases {
            assert_eq!(related(&row(a, t), &row(b, u)), expected, "{a} {b}");
        }
    }
}
