//! The gradients of attention in every form against the reference.

use super::attention_case::AttentionCase;
use super::attention_rows::{Row, Rule, sets_of_rules, with_forms};
use super::support::*;
use crate::Array;
use crate::DType::F32;
use crate::gpu::Capabilities;
use crate::kernels::attention::backward::forms::FORMS;
use crate::kernels::attention::backward::{Form, Role};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

/// To add a case, add a row. Operands are f32.
const ROWS: [Row; 12] = [
    Row::new("odd sizes", [2, 3, 5, 4, 2, 7]),
    Row::new("one key head", [2, 17, 64, 3, 1, 33]).dropout(),
    Row::new("as many key heads as query heads", [3, 8, 8, 5, 5, 65]),
    Row::new("wide heads off a vector", [1, 2, 130, 2, 2, 129]).dropout(),
    Row::new("columns beyond one dispatch", [1, 2, 5_000, 2, 1, 4]).dropout(),
    Row::new("queries beyond one dispatch", [1, 5_000, 3, 2, 1, 4]),
    Row::new("rows beyond one workgroup", [2, 70, 133, 2, 1, 8]).dropout(),
    Row::new("the widest heads of one chunk", [1, 3, 40, 2, 2, 252]),
    Row::new("many blocks of keys", [1, 40, 270, 4, 2, 64]).dropout(),
    Row::new("groups of three", [2, 5, 96, 6, 2, 128]),
    Row::new("heads in chunks", [1, 5, 9, 2, 1, 420]).dropout(),
    Row::new("nothing hidden", [2, 9, 43, 6, 2, 8]).hides_nothing(),
];

/// A row of d_out that a query mask hides may be anything.
fn d_out(case: &AttentionCase, rules: &[Rule], [b, t, _, h, _, d]: [usize; 6]) -> Array<f64> {
    let noise = values(b * t * h * d, 7);
    Array::from_fn([b, t, h, d], |i| {
        let (bi, ti) = (i / (t * h * d), i / (h * d) % t);
        if case.hidden_query(rules, bi, ti) { f64::NAN } else { f64::from(noise[i]) }
    })
}

#[test]
fn gradients_of_attention_are_the_references_under_every_mask() {
    let (gpu, mut sampler) = (gpu(), CaseSampler::new("attention backward"));
    let mut rules = sets_of_rules(&mut sampler);
    let least = wgpu::Limits::default();
    let forms = Role::ALL.into_iter().flat_map(|role| FORMS.each_ref().map(|form| (role, *form)));
    let fits = |row: &Row, (role, form): &(Role, Form)| {
        let devices = [Capabilities { limits: &least, ..gpu.capabilities(None) }, gpu.capabilities(None)];
        devices.iter().all(|device| form.fits(*role, row.sizes[5], device))
    };
    let name = |(role, form): &(Role, Form)| format!("{role:?} in {}", form.name);
    for (row, forms) in with_forms(&mut sampler, &ROWS, forms, name, fits) {
        let case = AttentionCase::new(&gpu, &row);
        let head_dim = row.sizes[5];
        for rules in row.rules(&mut rules, sampler.extent()) {
            let d_out = d_out(&case, &rules, row.sizes);
            let attended = case.expected(&rules, F32);
            let hidden_to_zero = d_out.map(|x| if x.is_nan() { 0.0 } else { *x });
            let expected = case.expected_gradients(&rules, &hidden_to_zero);
            for &(role, form) in &forms {
                let [dq, dk, dv] = case.differentiate(&gpu, (role, form), &rules, &d_out, &attended);
                let results = match role {
                    Role::Queries => vec![("dq", dq, &expected.dq)],
                    Role::Keys => vec![("dk", dk, &expected.dk), ("dv", dv, &expected.dv)],
                };
                for (name, got, expected) in results {
                    // dp − delta may cancel, of D products each. What is 0 but for rounding is no scale to measure by.
                    let expected = expected.map(|&x| if x.abs() < 1e-12 { 0.0 } else { x });
                    let largest = expected.data().iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                    let cancelled =
                        if name == "dv" || largest == 0.0 { 0.0 } else { 1e-7 * head_dim as f64 / largest };
                    let what = format!("{name} of {row:?} under {rules:?} in `{}`", form.name);
                    check(&what, &got, expected.data(), cancelled.max(1e-5));
                }
            }
        }
    }
}
