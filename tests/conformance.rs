//! The conformance set on the adapter under test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;

use common::gpu;
use gqa::conformance::checks;
use pollster::block_on;

#[test]
fn every_check_passes() {
    let mut failures = Vec::new();
    for check in checks() {
        let outcome = block_on(check.run(gpu())).unwrap();
        if !outcome.passed() {
            failures.push(format!("{}: {}: {outcome:?}", check.group, check.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn names_are_unique_and_groups_stand_together() {
    let checks = checks();
    let names: HashSet<_> = checks.iter().map(|check| (check.group, check.name)).collect();
    assert_eq!(names.len(), checks.len());
    let groups: HashSet<_> = checks.iter().map(|check| check.group).collect();
    let changes = checks.windows(2).filter(|pair| pair[0].group != pair[1].group).count();
    assert_eq!(changes + 1, groups.len());
}
