//! The same work on every adapter, side by side.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use gqa::bench::{BenchResults, GROUPS, Host, Row, RowKind};

use super::labels::{self, Label};
use super::read::ResultFile;

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
    /// The row's title, with what tells it from others of the group where it must.
    pub(crate) title: String,
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
        groups.iter_mut().for_each(name);
        // In the order of the suite; groups of other suites follow.
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

/// The rows of all files, those of one id in one line, in groups. What a file adds stands behind what it has before it.
fn side_by_side(files: &[ResultFile]) -> Result<Vec<Group>> {
    let mut groups: Vec<(Group, Order)> = Vec::new();
    // For each id, its first file and where its line is.
    let mut places: BTreeMap<&str, (&ResultFile, usize, usize)> = BTreeMap::new();
    for (run, file) in files.iter().enumerate() {
        // The file's last line in each group.
        let mut last: BTreeMap<usize, usize> = BTreeMap::new();
        for row in &file.results.rows {
            if let Some(&(first, group, line)) = places.get(row.id.as_str()) {
                last.insert(group, line);
                let line = &mut groups[group].0.lines[line];
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
            let known = groups.iter().position(|(group, _)| group.name == row.group);
            let group = known.unwrap_or_else(|| {
                groups.push((Group { name: row.group.clone(), lines: Vec::new() }, Order::default()));
                groups.len() - 1
            });
            let mut cells = vec![None; files.len()];
            cells[run] = Some(row.clone());
            let (Group { lines, .. }, order) = &mut groups[group];
            order.add_behind(last.insert(group, lines.len()));
            places.insert(&row.id, (file, group, lines.len()));
            lines.push(Line { title: row.title.clone(), work: row.clone(), cells });
        }
    }
    Ok(groups.into_iter().map(|(group, order)| Group { lines: order.apply(group.lines), ..group }).collect())
}

/// An order of lines that are numbered as they come: a chain.
#[derive(Default)]
struct Order {
    first: Option<usize>,
    /// For each line, the one behind it.
    next: Vec<Option<usize>>,
}

impl Order {
    /// Puts the line that comes next behind an earlier one, or before all.
    fn add_behind(&mut self, earlier: Option<usize>) {
        let new = Some(self.next.len());
        let link = match earlier {
            Some(earlier) => &mut self.next[earlier],
            None => &mut self.first,
        };
        let behind = std::mem::replace(link, new);
        self.next.push(behind);
    }

    fn apply(&self, lines: Vec<Line>) -> Vec<Line> {
        let mut lines: Vec<_> = lines.into_iter().map(Some).collect();
        let chain = std::iter::successors(self.first, |&line| self.next[line]);
        chain.filter_map(|line| lines[line].take()).collect()
    }
}

/// Makes titles unique in a group: with the dtype if that is enough, or else the id.
fn name(group: &mut Group) {
    for more in [|row: &Row| format!("{}, {}", row.title, row.dtype), |row: &Row| row.id.clone()] {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        group.lines.iter().for_each(|line| *count.entry(line.title.clone()).or_default() += 1);
        for line in group.lines.iter_mut().filter(|line| count[&line.title] > 1) {
            line.title = more(&line.work);
        }
    }
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
