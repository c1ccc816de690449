//! `gqa bench` as a person uses it: what it prints, what it writes, and how it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{command, fails, text};
use gqa::bench::{BenchResults, FORMAT_VERSION};

fn bench(args: &[&str]) -> Command {
    command(&[&["bench"], args].concat())
}

/// It must fail with one sentence on standard error that has all of `parts`.
#[track_caller]
fn refuses(args: &[&str], parts: &[&str]) -> Output {
    fails(&[&["bench"], args].concat(), parts)
}

fn results(path: impl AsRef<Path>) -> BenchResults {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_small_run_gives_a_table_and_the_same_figures_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.json");
    let args = ["--only", "linear/L2", "--reps", "2", "-o", path.to_str().unwrap()];
    let output = bench(&args).output().unwrap();
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{error}");
    // Nothing is drawn in a pipe.
    assert_eq!(error, "");

    let results = results(&path);
    assert_eq!((results.gqa_bench, results.suite.as_str()), (FORMAT_VERSION, "quick"));
    assert!(results.complete && results.skipped.is_empty());
    assert!(results.started_unix > 1_700_000_000 && !results.adapter.name.is_empty());
    assert!(results.roofline.f32_gflops > 0.01 && results.roofline.copy_gbytes > 0.01);
    assert_eq!(results.rows.len(), 2);
    for row in &results.rows {
        assert_eq!((row.group.as_str(), row.time.repetitions), ("linear", 2));
        assert!(0.0 < row.time.min && row.time.min <= row.time.median && row.time.median <= row.time.max);
        // The projection is what the title says.
        let sizes = [row.batch * row.query_len, row.features, row.query_heads * row.head_dim];
        assert!(row.title.ends_with(&sizes.map(|n| n.to_string()).join("×")), "{}", row.title);
        assert_eq!(row.flops, 2.0 * sizes.iter().product::<usize>() as f64);
        // And is printed.
        let line = said.lines().find(|line| line.starts_with(&row.id)).expect(&said);
        assert!(line.contains(&format!("{:.3}", row.time.median)), "{line}");
        assert!(line.ends_with(&row.variant), "{line}");
    }
    for part in ["adapter   ", "limits    ", "GFLOP/s", "times     by ", "of the limit"] {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
    assert!(said.contains(&format!("wrote     {}", path.display())), "{said}");
    // Nothing else is left behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn in_a_folder_the_file_is_named_after_the_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--only", "linear/L2-key", "--reps", "1", "-o", folder.path().to_str().unwrap()];
    assert!(bench(&args).output().unwrap().status.success());
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 1);
    let name = files[0].file_name().into_string().unwrap();
    assert!(name.ends_with("-quick.json"), "{name}");
    let results = results(files[0].path());
    assert!(name.starts_with(&results.adapter.name.to_lowercase()[..4]), "{name}");
}

#[test]
fn what_can_not_be_measured_is_refused_at_once() {
    let groups = "layer, causal, prefill, window, mask, decode, scaling, linear";
    let output = refuses(&["--only", "nothing-like-it"], &["--only", "`nothing-like-it`", groups]);
    assert_eq!(text(&output.stdout), "");
    refuses(&["--adapter", "no such adapter"], &["no adapter matches `no such adapter`", "available"]);
    for args in [["--reps", "0"], ["--suite", "none"]] {
        let output = bench(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn an_output_that_can_not_be_written_is_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("results.json");
    let output = refuses(&["-o", missing.to_str().unwrap()], &["can't write", "missing"]);
    assert_eq!(text(&output.stdout), "");
    let output =
        refuses(&["--adapter", "all", "-o", missing.to_str().unwrap()], &["must be a folder that exists"]);
    assert_eq!(text(&output.stdout), "");
}

/// A device that is always full fails when the results are written, after they were measured.
#[cfg(target_os = "linux")]
#[test]
fn results_that_can_not_be_written_in_the_end_are_kept_elsewhere() {
    let elsewhere = tempfile::tempdir().unwrap();
    let args = ["--only", "linear/L2-key", "--reps", "1", "-o", "/dev/full"];
    let output = bench(&args).env("TMPDIR", elsewhere.path()).output().unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("can't write /dev/full") && error.contains("the results are in"), "{error}");
    let files: Vec<_> =
        std::fs::read_dir(elsewhere.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(error.contains(files[0].to_str().unwrap()), "{error}");
    assert_eq!(results(&files[0]).rows.len(), 1);

    // Nowhere at all: they are printed.
    let nowhere = elsewhere.path().join("missing");
    let output = bench(&args).env("TMPDIR", &nowhere).output().unwrap();
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert!(!output.status.success());
    assert!(error.contains("the results are on the standard output instead"), "{error}");
    let json = &said[said.find("\n{").expect(&said)..];
    assert_eq!(serde_json::from_str::<BenchResults>(json).unwrap().rows.len(), 1);
}

/// Ctrl-C once ends the run with what there is.
#[cfg(unix)]
#[test]
fn an_interrupted_run_writes_the_rows_that_it_has() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.json");
    let mut command = bench(&["--suite", "full", "--reps", "3", "-o", path.to_str().unwrap()]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The table's head: from here on, rows are measured.
    let head = lines.by_ref().map(|line| line.unwrap()).find(|line| line.starts_with("row "));
    assert!(head.is_some());
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let rest: Vec<_> = lines.map(|line| line.unwrap()).collect();
    let output = child.wait_with_output().unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success(), "{rest:?}");
    assert!(error.contains("gqa: stopping") && error.contains("gqa: cancelled; "), "{error}");
    let results = results(&path);
    assert!(!results.complete);
    assert!(error.contains(&format!("{} of ", results.rows.len())), "{error}");
    assert!(rest.iter().any(|line| line.ends_with(", incomplete")), "{rest:?}");
}
