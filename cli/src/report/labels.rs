//! What to call each run: the adapter's name and, where that is not enough, what tells it from the others.

use std::collections::BTreeSet;
use std::fmt;

use gqa::bench::{BenchResults, Host, Timing};

use super::format;

/// The name of a run among those it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Label {
    pub(crate) name: String,
    /// What tells it from runs of the same name; empty if nothing has to.
    pub(crate) detail: String,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, detail } = self;
        if detail.is_empty() { f.write_str(name) } else { write!(f, "{name}, {detail}") }
    }
}

impl Label {
    /// The label in at most about `most` characters: the name is cut, and what tells it from others stays.
    pub(crate) fn shortened(&self, most: usize) -> Self {
        let room = most.saturating_sub(self.detail.chars().count() + 2).max(8);
        Self { name: format::shorten(&self.name, room), detail: self.detail.clone() }
    }
}

/// A label for each, no two alike.
pub(crate) fn labels(runs: &[&BenchResults]) -> Vec<Label> {
    let names: Vec<_> = runs.iter().map(|run| name(run)).collect();
    let label = |(i, name): (usize, &String)| {
        let alike: Vec<_> = (0..runs.len()).filter(|&j| names[j] == *name).collect();
        Label { name: name.clone(), detail: detail(runs, &alike, i) }
    };
    names.iter().enumerate().map(label).collect()
}

fn name(run: &BenchResults) -> String {
    // Browsers may keep it to themselves.
    if run.adapter.name.is_empty() {
        return format!("unnamed adapter ({})", run.adapter.backend);
    }
    run.adapter.name.clone()
}

/// The fewest of the ways to tell runs apart, taken in order, that tell `one` and the rest of `alike` apart.
fn detail(runs: &[&BenchResults], alike: &[usize], one: usize) -> String {
    let mut said: Vec<Vec<String>> = vec![Vec::new(); alike.len()];
    for part in PARTS {
        let apart = said.iter().collect::<BTreeSet<_>>().len();
        if apart == alike.len() {
            break;
        }
        let mut more = said.clone();
        for (parts, &run) in more.iter_mut().zip(alike) {
            parts.push(part(runs[run]));
        }
        if more.iter().collect::<BTreeSet<_>>().len() > apart {
            said = more;
        }
    }
    let Some(own) = alike.iter().position(|&run| run == one) else { return String::new() };
    // Nothing that a page shows tells them apart, so their order does.
    if said.iter().filter(|parts| **parts == said[own]).count() > 1 {
        let order = (0..=own).filter(|&other| said[other] == said[own]).count();
        said[own].push(format!("run {order}"));
    }
    said[own].retain(|part| !part.is_empty());
    said[own].join(", ")
}

/// What may tell runs of one adapter apart, most telling first.
const PARTS: [fn(&BenchResults) -> String; 9] = [
    |run| run.adapter.backend.clone(),
    |run| driver(&run.adapter.driver),
    |run| driver(&run.adapter.driver_info),
    |run| host(run.host).into(),
    |run| format!("gqa {}", run.gqa_version),
    |run| format!("{} suite", run.suite),
    |run| timing(run.timing).into(),
    |run| format::date(run.started_unix).unwrap_or_default(),
    |run| format::date_time(run.started_unix).unwrap_or_default(),
];

fn driver(told: &str) -> String {
    if told.is_empty() { "driver unknown".into() } else { format!("driver {told}") }
}

pub(crate) fn host(host: Host) -> &'static str {
    match host {
        Host::Native => "native",
        Host::Browser => "browser",
    }
}

pub(crate) fn timing(timing: Timing) -> &'static str {
    match timing {
        Timing::GpuTimestamps => "GPU timestamps",
        Timing::WallClock => "wall clock",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gqa::bench::{AdapterRecord, FORMAT_VERSION, Roofline};

    fn run(name: &str, backend: &str, driver_info: &str, started_unix: u64) -> BenchResults {
        BenchResults {
            gqa_bench: FORMAT_VERSION,
            gqa_version: "0.1.0".into(),
            started_unix,
            host: Host::Native,
            suite: "quick".into(),
            complete: true,
            adapter: AdapterRecord {
                name: name.into(),
                vendor: 0,
                backend: backend.into(),
                driver: "driver".into(),
                driver_info: driver_info.into(),
                device_type: "Other".into(),
                features: Vec::new(),
                max_storage_buffer_binding_size: 0,
                max_buffer_size: 0,
                max_compute_workgroup_storage_size: 0,
                max_compute_invocations_per_workgroup: 0,
                subgroup_sizes: [0, 0],
            },
            timing: Timing::GpuTimestamps,
            roofline: Roofline { f32_gflops: 1.0, copy_gbytes: 1.0 },
            rows: Vec::new(),
            skipped: Vec::new(),
        }
    }

    #[track_caller]
    fn labelled(runs: &[BenchResults], expected: &[&str]) {
        let labels = labels(&runs.iter().collect::<Vec<_>>());
        assert_eq!(labels.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_short_label_keeps_what_tells_it_apart() {
        let label = Label { name: "a very long name".into(), detail: "driver 2".into() };
        assert_eq!(label.shortened(20).to_string(), "a very lo…, driver 2");
        assert_eq!(label.shortened(26), label);
    }

    #[test]
    fn labels_say_what_differs_and_no_more() {
        labelled(&[run("a", "Vulkan", "1", 0), run("b", "Gl", "2", 9)], &["a", "b"]);
        labelled(&[run("a", "Vulkan", "1", 0), run("a", "Gl", "2", 9)], &["a, Vulkan", "a, Gl"]);
        labelled(&[run("a", "Vulkan", "1", 0), run("a", "Vulkan", "2", 9)], &["a, driver 1", "a, driver 2"]);
        labelled(
            &[run("a", "Vulkan", "1", 0), run("a", "Gl", "1", 0), run("a", "Gl", "1", 86_400)],
            &["a, Vulkan, 1970-01-01", "a, Gl, 1970-01-01", "a, Gl, 1970-01-02"],
        );
        labelled(
            &[run("a", "Gl", "1", 1), run("a", "Gl", "1", 2)],
            &["a, 1970-01-01 00:00:01", "a, 1970-01-01 00:00:02"],
        );
        labelled(
            &[run("", "Gl", "1", 1), run("", "Gl", "1", 1)],
            &["unnamed adapter (Gl), run 1", "unnamed adapter (Gl), run 2"],
        );
    }
}
