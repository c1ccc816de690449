//! Fused attention in every form against the reference.

use super::attention_case::AttentionCase;
use super::attention_rows::{Row, sets_of_rules, with_forms};
use super::support::*;
use crate::DType::{Bf16, F16, F32};
use crate::gpu::Capabilities;
use crate::kernels::attention::forward::Form;
use crate::kernels::attention::forward::forms::FORMS;
use crate::tuning::NamedForm as _;
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

/// To add a case, add a row.
const ROWS: [Row; 15] = [
    Row::new("one of everything", [1, 1, 1, 1, 1, 1]),
    Row::new("odd sizes", [2, 3, 5, 4, 2, 7]).types(F16, F32).dropout(),
    Row::new("one key past a word of bits", [1, 9, 65, 6, 2, 16]).types(Bf16, F32),
    Row::new("one key head", [2, 17, 64, 3, 1, 33]).types(F32, F16).dropout(),
    Row::new("one query", [1, 1, 300, 8, 2, 64]).types(F16, F16),
    Row::new("as many key heads as query heads", [3, 8, 8, 5, 5, 65]).types(Bf16, F16).dropout(),
    Row::new("more queries than keys", [1, 33, 7, 9, 3, 12]).types(F32, Bf16),
    Row::new("wide heads off a vector", [1, 2, 130, 2, 2, 129]).types(F16, Bf16).dropout(),
    Row::new("keys beyond one dispatch", [1, 2, 40_000, 2, 1, 4]).types(Bf16, Bf16),
    Row::new("rows beyond one workgroup", [2, 70, 133, 2, 1, 8]).dropout(),
    Row::new("the widest heads", [1, 3, 40, 2, 2, 252]).types(F16, F32),
    Row::new("many blocks of keys", [1, 40, 270, 4, 2, 64]).types(Bf16, F32).dropout(),
    Row::new("groups of three", [2, 5, 96, 6, 2, 128]).types(F32, F16),
    Row::new("nothing hidden", [2, 9, 43, 6, 2, 8]).types(F16, F32).hides_nothing(),
    Row::new("nothing hidden, off a vector", [2, 9, 43, 6, 2, 5]).hides_nothing(),
];

#[test]
fn fused_attention_is_the_references_under_every_mask() {
    let (gpu, mut sampler) = (gpu(), CaseSampler::new("attention forward"));
    let mut rules = sets_of_rules(&mut sampler);
    let least = wgpu::Limits::default();
    let fits = |row: &Row, form: &Form| {
        let devices = [Capabilities { limits: &least, ..gpu.capabilities(None) }, gpu.capabilities(None)];
        devices.iter().all(|device| form.fits(row.sizes[5], device))
    };
    let forms = FORMS.iter().copied().filter(|form| !form.uses_matrices());
    for (row, forms) in with_forms(&mut sampler, &ROWS, forms, |form| form.name.into(), fits) {
        let case = AttentionCase::new(&gpu, &row);
        for rules in row.rules(&mut rules, sampler.extent()) {
            let expected = case.expected(&rules, F32);
            for form in &forms {
                let got = case.run(&gpu, *form, &rules);
                let what = format!("{row:?} under {rules:?} in `{}`", form.name);
                check(&format!("out of {what}"), &got.out, expected.output.data(), 1e-5);
                check(&format!("lse of {what}"), &got.lse, &expected.lse, 1e-5);
            }
        }
    }
}
