//! What the README and `docs/` promise: their commands run, and their links lead somewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Markdown files of the root and of `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = [root(), root().join("docs")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    assert!(pages.iter().any(|page| page.ends_with("README.md")) && pages.len() > 5, "{pages:?}");
    pages
}

#[test]
fn every_command_of_the_documentation_runs() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("cargo run --release -p gqa-cli -- ")) {
            let args: Vec<&str> = line.split_whitespace().collect();
            let output = command(&args).current_dir(root()).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {line}: {told}", page.display());
            count += 1;
        }
    }
    assert_eq!(count, 8, "commands in the documentation");
    for made in ["out.safetensors", "here.json", "report.html", "gradients.safetensors", "trained.keras"] {
        fs::remove_file(root().join(made)).unwrap();
    }
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in
            links(&text).filter(|link| !link.starts_with("http") && !link.starts_with("../../actions"))
        {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{}: {link}: there are {there:?}", page.display());
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count} links");
}

/// What stands between `](` and `)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

/// The headings of a page, as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn pictures_are_small() {
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes < 200 << 10, "{} takes {bytes} bytes", path.display());
    }
}
