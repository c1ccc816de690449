//! The comparison is seen to fail on planted faults, and samples to show what their tables do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use common::compare::compare;
use common::sampler::{CaseSampler, Extent};
use common::{Case, Data, OnGpu, bools};
use gqa::{Array, Config};

/// A case whose every axis has its own length, and what the reference gives for it.
fn case() -> (Case, Data, Vec<f64>) {
    let mut case = Case::new(Config::new(4, 6, 2), 10, [2, 5, 7]);
    case.causal = true;
    let data = case.data();
    let expected = case.expected(&data).attention_output.into_data();
    (case, data, expected)
}

fn must_fail(what: &str, got: &[f64], expected: &[f64]) {
    // Even at the widest tolerance that any dtype has.
    assert!(compare(what, got, expected, 2e-2).is_err(), "{what} went unnoticed");
}

#[test]
fn equal_results_pass_and_the_error_is_reported() {
    let (.., expected) = case();
    assert_eq!(compare("equal", &expected, &expected, 0.0), Ok(0.0));
    let mut got = expected.clone();
    let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    got[3] += 1e-4 * largest;
    let error = compare("close", &got, &expected, 1.1e-4).unwrap();
    approx::assert_abs_diff_eq!(error, 1e-4, epsilon = 1e-9);
    assert!(compare("close", &got, &expected, 0.9e-4).unwrap_err().contains("element 3"));
}

#[test]
fn a_nan_fails_wherever_it_is() {
    let (.., expected) = case();
    for i in [0, expected.len() / 2, expected.len() - 1] {
        let mut got = expected.clone();
        got[i] = f64::NAN;
        must_fail("NaN in the result", &got, &expected);
        must_fail("NaN in what is expected", &expected, &got);
        got[i] = f64::INFINITY;
        must_fail("infinity", &got, &expected);
    }
    must_fail("NaN everywhere", &[f64::NAN; 3], &[f64::NAN; 3]);
    must_fail("opposite infinities", &[f64::INFINITY], &[f64::NEG_INFINITY]);
}

#[test]
fn a_wrong_length_fails() {
    let (.., expected) = case();
    must_fail("too short", &expected[1..], &expected);
    must_fail("empty", &[], &expected);
}

#[test]
fn swapped_axes_fail() {
    let (.., expected) = case();
    let [b, t, c] = [2, 5, 10];
    let swapped: Vec<f64> =
        (0..b * t * c).map(|i| expected[(i / (t * c)) * t * c + i % t * c + i / t % c]).collect();
    must_fail("T and C swapped", &swapped, &expected);
    let batches: Vec<f64> = (0..b * t * c).map(|i| expected[(i + t * c) % (b * t * c)]).collect();
    must_fail("batch elements swapped", &batches, &expected);
}

#[test]
fn an_unwritten_output_fails() {
    let (.., expected) = case();
    must_fail("zeros", &vec![0.0; expected.len()], &expected);
    let mut got = expected.clone();
    *got.last_mut().unwrap() = 7.0e33;
    must_fail("poison in one place", &got, &expected);
}

#[test]
fn a_mask_that_is_off_by_one_fails() {
    let (case, data, expected) = case();
    let [_, t, s] = case.sizes;
    let off_by_one = Array::from_fn([t, s], |i| i % s < i / s);
    let wrong = Data { attention_mask: Some(off_by_one), ..data };
    must_fail("causal without the diagonal", case.expected(&wrong).attention_output.data(), &expected);
}

#[test]
fn a_dropout_pattern_of_another_seed_fails() {
    let (mut case, data, _) = case();
    case.config.dropout = 0.2;
    case.dropout_seed = Some(1);
    let expected = case.expected(&data).attention_output;
    case.dropout_seed = Some(2);
    must_fail("another seed", case.expected(&data).attention_output.data(), expected.data());
}

#[test]
fn made_up_masks_have_both_values() {
    let mask = bools(&[100], 1);
    let seen = mask.data().iter().filter(|&&seen| seen).count();
    assert!((40..90).contains(&seen), "{seen}");
}

/// A table of pairs, each with a trait for its members and one for their product.
fn pairs() -> Vec<[usize; 2]> {
    (0..35).map(|i| [i / 7, i % 7]).collect()
}

fn traits([a, b]: &[usize; 2]) -> [String; 3] {
    [format!("a {a}"), format!("b {b}"), format!("odd {}", a * b % 2)]
}

#[test]
fn a_sample_shows_every_trait_of_its_table_in_few_cases_and_another_seed_in_others() {
    let all: BTreeSet<String> = pairs().iter().flat_map(traits).collect();
    let sample = |seed: &str| -> [Vec<[usize; 2]>; 2] {
        let mut sampler = CaseSampler::seeded(Extent::Sample, seed, "pairs");
        let cases = sampler.order(pairs());
        let run = cases.into_iter().filter(|case| sampler.should_run(traits(case))).collect();
        let mut sampler = CaseSampler::seeded(Extent::Sample, seed, "pairs");
        [run, sampler.cover(pairs(), |case, _| traits(case).into(), |_| 0)]
    };
    for picked in sample("one") {
        assert_eq!(picked.iter().flat_map(traits).collect::<BTreeSet<_>>(), all);
        assert!((7..=13).contains(&picked.len()), "{picked:?}");
    }
    assert_eq!(sample("one"), sample("one"));
    assert_ne!(sample("one"), sample("two"));
}

#[test]
fn the_main_adapter_runs_whole_tables_in_order() {
    let mut sampler = CaseSampler::seeded(Extent::Whole, "main", "pairs");
    let cases = sampler.order(pairs());
    assert_eq!(cases, pairs());
    assert!(cases.iter().all(|case| sampler.should_run(traits(case))));
}

#[test]
fn of_cases_that_show_as_much_the_cheapest_is_taken() {
    let mut sampler = CaseSampler::seeded(Extent::Whole, "main", "costs");
    let picked = sampler.cover(1..100, |i: &i32, _| vec![format!("odd {}", i % 2)], |i| *i as usize);
    assert_eq!(picked.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
}
