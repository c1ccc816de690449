//! The same work on every adapter, side by side.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use gqa::bench::{BenchResults, Host, Row, RowKind};

use super::labels::{self, Label};
use super::read::ResultFile;

/// The groups of the suite in the order of the page; others follow.
const GROUPS: [&str; 8] = ["layer", "prefill", "causal", "window", "mask", "decode", "scaling", "linear"];

/// Results that fit together.
pub(crate) struct Comparison {
    pub(crate) runs: Vec<Run>,
    pub(crate) groups: Vec<Group>,
}

/// One file.
pub(crate) struct Run {
    pub(crate) index: usize,
    pub(crate) label: Label,
    pub(crate) results: BenchResults,
}

/// Lines that belong together.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) lines: Vec<Line>,
}

/// One row id over all runs.
pub(crate) struct Line {
    /// The row of the first run that has it: its work is that of all.
    pub(crate) work: Row,
    /// For each run, its own row.
    pub(crate) cells: Vec<Option<Row>>,
}

/// How a time stands among those it may be compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Standing {
    /// Nothing to compare it with.
    Alone,
    /// No other is shorter.
    Fastest,
    /// The fastest run, how many times as long this took, and whether the middle halves of the two overlap.
    Behind { fastest: usize, ratio: f64, overlaps: bool },
}

impl Run {
    /// What stands for the run in plots and tables.
    pub(crate) fn number(&self) -> usize {
        self.index + 1
    }

    /// Why a row is missing.
    pub(crate) fn skip_reason(&self, id: &str) -> Option<&str> {
        self.results.skipped.iter().find(|(skipped, _)| skipped == id).map(|(_, reason)| reason.as_str())
    }
}

impl Comparison {
    /// Refuses files without a row in common, and rows of one id that are different work.
    pub(crate) fn new(files: Vec<ResultFile>) -> Result<Self> {
        meet(&files)?;
        let mut groups = side_by_side(&files)?;
        let rank = |group: &Group| GROUPS.iter().position(|name| *name == group.name).unwrap_or(GROUPS.len());
        groups.sort_by_key(rank);
        let labels = labels::labels(&files.iter().map(|file| &file.results).collect::<Vec<_>>());
        let runs = files.into_iter().zip(labels).enumerate();
        let runs = runs.map(|(index, (file, label))| Run { index, label, results: file.results }).collect();
        Ok(Self { runs, groups })
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.groups.iter().flat_map(|group| &group.lines)
    }

    /// The runs of a kind of host: figures of different kinds are compared apart.
    pub(crate) fn on(&self, host: Host) -> Vec<&Run> {
        self.runs.iter().filter(|run| run.results.host == host).collect()
    }

    /// How the time of `run` stands in `line`; `Alone` if it has none.
    pub(crate) fn standing(&self, line: &Line, run: &Run) -> Standing {
        let times = self.on(run.results.host).into_iter();
        let times: Vec<_> =
            times.filter_map(|run| Some((run.index, line.cells[run.index].as_ref()?.time))).collect();
        let own = times.iter().find(|(index, _)| *index == run.index);
        let best = times.iter().min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        match (own, best) {
            (Some((_, own)), Some((fastest, best))) if times.len() > 1 => {
                if own.median <= best.median {
                    return Standing::Fastest;
                }
                let overlaps = own.lower_quartile <= best.upper_quartile;
                Standing::Behind { fastest: *fastest, ratio: own.median / best.median, overlaps }
            }
            _ => Standing::Alone,
        }
    }
}

/// Refuses a file that has no row in common with any other.
fn meet(files: &[ResultFile]) -> Result<()> {
    let ids = files.iter().map(|file| file.results.rows.iter().map(|row| row.id.as_str()).collect());
    let ids: Vec<BTreeSet<&str>> = ids.collect();
    for (i, file) in files.iter().enumerate() {
        let mut others = (0..files.len()).filter(|&other| other != i);
        if files.len() == 1 || others.any(|other| !ids[i].is_disjoint(&ids[other])) {
            continue;
        }
        match files {
            [a, b] => bail!("{} and {} have no row in common", a.path.display(), b.path.display()),
            _ => bail!("{} has no row in common with any of the others", file.path.display()),
        }
    }
    Ok(())
}

/// The rows of all files, those of one id in one line, in groups. Both in the order of their first appearance.
fn side_by_side(files: &[ResultFile]) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    // For each id, its first file and where its line is.
    let mut places: BTreeMap<&str, (&ResultFile, usize, usize)> = BTreeMap::new();
    for (run, file) in files.iter().enumerate() {
        for row in &file.results.rows {
            if let Some(&(first, group, line)) = places.get(row.id.as_str()) {
                let line = &mut groups[group].lines[line];
                if let Some((what, theirs, own)) = difference(&line.work, row) {
                    bail!(
                        "row `{}` is different work: its {what} is {theirs} in {}, and {own} in {}",
                        row.id,
                        first.path.display(),
                        file.path.display()
                    );
                }
                line.cells[run] = Some(row.clone());
                continue;
            }
            let known = groups.iter().position(|group| group.name == row.group);
            let group = known.unwrap_or_else(|| {
                groups.push(Group { name: row.group.clone(), lines: Vec::new() });
                groups.len() - 1
            });
            let mut cells = vec![None; files.len()];
            cells[run] = Some(row.clone());
            places.insert(&row.id, (file, group, groups[group].lines.len()));
            groups[group].lines.push(Line { work: row.clone(), cells });
        }
    }
    Ok(groups)
}

/// What makes two rows different work, and how each has it.
fn difference(a: &Row, b: &Row) -> Option<(&'static str, String, String)> {
    let kind = |row: &Row| match row.kind {
        RowKind::Layer => "layer",
        RowKind::Attention => "attention",
        RowKind::Linear => "linear",
    };
    let texts = |row: &Row| [("kind", kind(row).to_owned()), ("dtype", row.dtype.clone())];
    let sizes = |row: &Row| {
        [
            ("batch", row.batch),
            ("query_len", row.query_len),
            ("key_len", row.key_len),
            ("query_heads", row.query_heads),
            ("key_heads", row.key_heads),
            ("head_dim", row.head_dim),
            ("features", row.features),
        ]
    };
    // Summed in another order they may differ in the last digits.
    let work = |row: &Row| [("flops", row.flops), ("bytes", row.bytes)];
    let text = texts(a).into_iter().zip(texts(b)).find(|(a, b)| a != b).map(|(a, b)| (a.0, a.1, b.1));
    let size = sizes(a).into_iter().zip(sizes(b)).find(|(a, b)| a != b);
    let size = size.map(|(a, b)| (a.0, a.1.to_string(), b.1.to_string()));
    let amount = work(a).into_iter().zip(work(b)).find(|(a, b)| !((a.1 / b.1 - 1.0).abs() <= 1e-9));
    let amount = amount.map(|(a, b)| (a.0, a.1.to_string(), b.1.to_string()));
    text.or(size).or(amount)
}
