//! The forms in cooperative matrices against the reference, where the adapter has such units.

use super::attention_case::AttentionCase;
use super::attention_rows::{Row, sets_of_rules, with_forms};
use super::linear_case::{Kind, LinearCase};
use super::support::*;
use crate::DType::{F16, F32};
use crate::kernels::attention::forward::forms;
use crate::kernels::attention::forward::{Form, Operands, attention_forward};
use crate::kernels::linear;
use crate::reference::Visibility;
use crate::tuning::NamedForm as _;
use crate::{CooperativeMatrix, DType, Gpu};

/// The adapter under test with its cooperative matrices, if it has any.
fn gpu_with_matrices() -> Option<Gpu> {
    let adapter = std::env::var("GQA_ADAPTER").ok().filter(|wanted| !wanted.trim().is_empty());
    let gpu = pollster::block_on(Gpu::with_cooperative_matrix(adapter.as_deref())).unwrap();
    if gpu.cooperative_matrix() == CooperativeMatrix::Off {
        eprintln!("{gpu:?} has no cooperative matrices for f16: their forms are not tested");
        return None;
    }
    Some(gpu)
}

#[test]
fn the_self_test_passes() {
    let Some(gpu) = gpu_with_matrices() else { return };
    assert_eq!(gpu.cooperative_matrix(), CooperativeMatrix::Untested);
    assert_eq!(gpu.tested_matrix(), None);
    let units = pollster::block_on(gpu.test_cooperative_matrix()).unwrap();
    assert!(matches!(units, CooperativeMatrix::Passed { size: 8 | 16 }), "{units:?}");
    assert_eq!(gpu.cooperative_matrix(), units);
    assert_eq!(gpu.tested_matrix(), gpu.matrix_config());
}

#[test]
fn results_do_not_depend_on_how_wide_subgroups_are() {
    let Some(gpu) = gpu_with_matrices() else { return };
    let lanes = gpu.matrix_config().unwrap().subgroup;
    // One part at a time; more subgroups than parts, forms that need more lanes, and parts that take turns.
    for (lanes, parts) in [(lanes, 1), (32, 3)] {
        let gpu = gpu_with_matrices().unwrap();
        gpu.set_matrix_config(lanes, parts);
        let units = pollster::block_on(gpu.test_cooperative_matrix()).unwrap();
        assert!(matches!(units, CooperativeMatrix::Passed { .. }), "{lanes} lanes, {parts} parts: {units:?}");
    }
}

#[test]
fn linear_in_matrix_units_is_the_references() {
    let Some(gpu) = gpu_with_matrices() else { return };
    let mut sampler = CaseSampler::new("linear in cooperative matrices");
    // To add a size, add a row: M, K, N.
    let sizes = [
        [1, 1, 1],
        [3, 5, 7],
        [8, 16, 64],
        [9, 33, 65],
        [131, 64, 130],
        [1, 300, 129],
        [70, 3, 2],
        [2, 40_000, 3],
        [131, 68, 132],
        [65, 20, 4],
    ];
    let kinds = Kind::all(&[[DType::F16, DType::F16], [DType::F32, DType::F16]]);
    let device = gpu.capabilities(gpu.matrix_config());
    let forms =
        linear::forms::FORMS.iter().copied().filter(|form| form.uses_matrices() && form.fits(&device));
    let pairs = forms.flat_map(|form| kinds.iter().map(move |kind| (*kind, form)));
    let picked = sampler.cover(pairs, |(kind, form), extent| kind.traits(form.name, extent), |_| 0);
    for kind in kinds {
        let of_kind: Vec<_> =
            picked.iter().filter(|(other, _)| *other == kind).map(|(_, form)| form).collect();
        for [m, k, n] in sizes.into_iter().filter(|&size| kind.is_of(size) && !of_kind.is_empty()) {
            let case = LinearCase::new(&gpu, kind, [m, k, n]);
            // As the cooperative matrices see it, and as it is.
            let expected = [(DType::F16, 1e-5), (DType::F32, DType::F16.tolerance())]
                .map(|(seen_as, tolerance)| (case.expected(seen_as), tolerance));
            // Long sums take a while.
            for form in &of_kind[..if k > 10_000 { 1 } else { of_kind.len() }] {
                let y = case.run(&gpu, **form, false);
                for (expected, tolerance) in &expected {
                    check(
                        &format!("linear {m}×{k}×{n} {kind:?} in `{}`", form.name),
                        y,
                        expected,
                        *tolerance,
                    );
                }
            }
        }
    }
}

/// To add a case, add a row.
const ROWS: [Row; 13] = [
    Row::new("one of everything", [1, 1, 1, 1, 1, 1]).types(F16, F16),
    Row::new("odd sizes", [2, 3, 5, 4, 2, 7]).types(F32, F16).dropout(),
    Row::new("one key past a word of bits", [1, 9, 65, 6, 2, 16]).types(F16, F32),
    Row::new("one key head", [2, 17, 64, 3, 1, 33]).dropout(),
    Row::new("one query", [1, 1, 300, 8, 2, 16]).types(F16, F16),
    Row::new("as many key heads as query heads", [3, 8, 8, 5, 5, 5]).types(F32, F16),
    Row::new("more queries than keys", [1, 33, 7, 9, 3, 12]).types(F16, F32).dropout(),
    Row::new("wide heads off a vector", [1, 2, 130, 2, 2, 129]),
    Row::new("keys beyond one dispatch", [1, 2, 9_000, 2, 1, 4]).types(F16, F16),
    Row::new("rows beyond one workgroup", [2, 70, 133, 2, 1, 8]).types(F32, F16),
    Row::new("many blocks of keys", [1, 40, 270, 4, 2, 64]).types(F16, F32).dropout(),
    Row::new("groups of three", [2, 5, 96, 6, 2, 128]),
    Row::new("nothing hidden", [2, 9, 43, 6, 2, 8]).hides_nothing(),
];

#[test]
fn attention_in_matrix_units_is_the_references_under_every_mask() {
    let Some(gpu) = gpu_with_matrices() else { return };
    let mut sampler = CaseSampler::new("attention in cooperative matrices");
    let mut rules = sets_of_rules(&mut sampler);
    let device = gpu.capabilities(gpu.matrix_config());
    let forms = forms::FORMS.iter().copied().filter(|form| form.uses_matrices());
    let fits = |row: &Row, form: &Form| form.fits(row.sizes[5], &device);
    for (row, forms) in with_forms(&mut sampler, &ROWS, forms, |form| form.name.into(), fits) {
        let [b, t, s, h, hkv, d] = row.sizes;
        let q = grown(values(b * t * h * d, 1), 2.0);
        let mut k = grown(values(b * s * hkv * d, 2), 2.0);
        // Scores that grow along the keys, so that sums are multiplied in every block.
        k.iter_mut().enumerate().for_each(|(i, x)| *x *= (i / (hkv * d) % s + 1) as f32 / s as f32);
        let case = AttentionCase::of(&gpu, &row, q, k);
        for rules in row.rules(&mut rules, sampler.extent()) {
            // As the cooperative matrices see it; probabilities are rounded too.
            let expected = case.expected(&rules, F16);
            for form in &forms {
                let got = case.run(&gpu, *form, &rules);
                let what = format!("{row:?} under {rules:?} in `{}`", form.name);
                check(&format!("out of {what}"), &got.out, expected.output.data(), 1e-3);
                check(&format!("lse of {what}"), &got.lse, &expected.lse, 1e-5);
            }
        }
    }
}

#[test]
fn a_visible_nan_and_a_value_past_the_range_of_f16_reach_the_result() {
    let Some(gpu) = gpu_with_matrices() else { return };
    let dims = dims([1, 9, 70, 2, 1, 8]);
    let device = gpu.capabilities(gpu.matrix_config());
    let form = forms::FORMS.iter().find(|form| form.uses_matrices() && form.fits(8, &device)).unwrap();
    let (q, _) = tensor(&gpu, &[1, 9, 2, 8], values(144, 1), DType::F32);
    let (k, _) = tensor(&gpu, &[1, 70, 1, 8], values(560, 2), DType::F32);
    for (bad, is_right) in [
        (f32::NAN, (|x: f64| x.is_nan()) as fn(f64) -> bool),
        (f32::INFINITY, |x| x == f64::INFINITY),
        (1e6, |x| x.is_finite() && x > 100.0),
    ] {
        // Key 40, which the causal mask with this offset hides from queries before the fifth.
        let v = (0..560).map(|i| if i / 8 == 40 { bad } else { 0.5 }).collect();
        let (v, _) = tensor(&gpu, &[1, 70, 1, 8], v, DType::F32);
        let (out, lse) = (poisoned(&gpu, &[1, 9, 2, 8], DType::F32), poisoned(&gpu, &[1, 2, 9], DType::F32));
        let visibility = Visibility { causal: true, q_offset: 36, ..Visibility::default() };
        let masks = mask_tensors(&gpu, &visibility);
        let (problem, layout) = problem(&gpu, dims, &visibility, &masks, 1.0, None);
        run(&gpu, |pass| {
            let mask_bits = layout.pack(pass, &dims, v.operand())?;
            let (q, k, v) = (q.operand(), k.operand(), v.operand());
            let operands =
                Operands { q, k, v, mask_bits: mask_bits.range(), out: out.range(), lse: lse.range() };
            attention_forward(pass, &problem, &operands, *form)
        });
        for (i, x) in read(&out).into_iter().enumerate() {
            if i / 16 < 4 {
                assert!((x - 0.5).abs() < 1e-3, "{bad} leaks into query {}: {x}", i / 16);
            } else {
                assert!(is_right(x), "{bad} is {x} in query {}", i / 16);
            }
        }
    }
}

fn grown(mut values: Vec<f32>, factor: f32) -> Vec<f32> {
    values.iter_mut().for_each(|x| *x *= factor);
    values
}
