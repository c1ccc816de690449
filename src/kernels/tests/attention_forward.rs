//! Fused attention in every form against the reference.

use super::attention_case::AttentionCase;
use super::support::*;
use crate::DType;
use crate::kernels::attention::forward::lanes::{FORMS, Form};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

#[test]
fn fused_attention_is_the_references_under_every_mask() {
    let (gpu, mut turns) = (gpu(), Turns::in_browsers_one_in(23));
    // Beside the others, keys beyond one dispatch, and rows beyond one workgroup.
    let more = [
        [1, 2, 40_000, 2, 1, 4],
        [2, 70, 133, 2, 1, 8],
        [1, 3, 40, 2, 2, 252],
        [1, 40, 270, 4, 2, 64],
        [2, 5, 96, 6, 2, 128],
    ];
    for (case, sizes) in DIMS.into_iter().chain(more).enumerate() {
        let [b, t, s, h, hkv, d] = sizes;
        let (q_type, k_type) = (crate::kernels::FLOATS[case % 3], crate::kernels::FLOATS[case / 3 % 3]);
        let (q, k) = (values(b * t * h * d, 1), values(b * s * hkv * d, 2));
        let operands = AttentionCase::new(&gpu, sizes, (q, q_type), (k, k_type));
        let least = wgpu::Limits::default();
        let forms: Vec<Form> = FORMS
            .into_iter()
            .filter(|form| [&least, gpu.limits()].iter().all(|limits| form.fits(d, None, limits)))
            .collect();
        // Each case meets two forms, and each form all masks; more would mostly compile.
        for step in 0..24u32 {
            let flags = (step * 5 % 64) ^ case as u32;
            if s > 1000 && step > 5 || !turns.next_is_run() {
                continue;
            }
            let form = forms[(3 * case + step as usize % 2) % forms.len()];
            let got = operands.run(&gpu, form, flags, case);
            let expected = operands.expected(flags, case, DType::F32);
            let what = format!("{sizes:?} {q_type} {k_type} flags {flags:06b} {}", form.name);
            check(&format!("out {what}"), &got.out, expected.output.data(), 1e-5);
            check(&format!("lse {what}"), &got.lse, &expected.lse, 1e-5);
        }
    }
}
