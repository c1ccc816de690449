//! Projections in every form against the reference.

use super::support::*;
use crate::DType;
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

#[test]
fn linear_is_the_references() {
    use super::linear_case::{Kind, LinearCase};
    use crate::kernels::linear::forms::FORMS;
    let (gpu, mut sampler) = (gpu(), CaseSampler::new("linear"));
    // To add a size, add a row: M, K, N.
    let sizes = [
        [1, 1, 1],
        [3, 5, 7],
        [8, 16, 64],
        [9, 33, 65],
        [17, 64, 130],
        [1, 300, 129],
        [70, 3, 2],
        [2, 40_000, 3],
        [131, 68, 132],
        [65, 20, 4],
    ];
    let kinds = Kind::all(&[[DType::F32, DType::F32], [DType::F16, DType::F16], [DType::F32, DType::Bf16]]);
    let forms = FORMS.iter().copied().filter(|form| form.fits(&gpu.capabilities(None)));
    let pairs = forms.flat_map(|form| kinds.iter().map(move |kind| (*kind, form)));
    let picked = sampler.cover(pairs, |(kind, form), extent| kind.traits(form.name, extent), |_| 0);
    for kind in kinds {
        let of_kind: Vec<_> =
            picked.iter().filter(|(other, _)| *other == kind).map(|(_, form)| form).collect();
        for [m, k, n] in sizes.into_iter().filter(|&size| kind.is_of(size) && !of_kind.is_empty()) {
            let case = LinearCase::new(&gpu, kind, [m, k, n]);
            let expected = case.expected(DType::F32);
            // Long sums take a while.
            for form in &of_kind[..if k > 10_000 { 1 } else { of_kind.len() }] {
                let what = format!("linear {m}×{k}×{n} {kind:?} in `{}`", form.name);
                check(&what, case.run(&gpu, **form, false), &expected, 1e-5);
                if !kind.gate {
                    let twice: Vec<f64> = expected.iter().map(|y| 2.0 * y).collect();
                    check(&format!("{what} added"), case.run(&gpu, **form, true), &twice, 1e-5);
                }
            }
        }
    }
}
