//! The gradients of attention in every form against the reference.

use super::attention_case::AttentionCase;
use super::support::*;
use crate::kernels::attention::backward::lanes::{FORMS, Form, Role};
use crate::{Array, DType};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

/// A row of d_out that a query mask hides may be anything.
fn d_out(operands: &AttentionCase, flags: u32, [b, t, _, h, _, d]: [usize; 6]) -> Array<f64> {
    let noise = values(b * t * h * d, 7);
    Array::from_fn([b, t, h, d], |i| {
        let (bi, ti) = (i / (t * h * d), i / (h * d) % t);
        if operands.hidden_query(flags, bi, ti) { f64::NAN } else { f64::from(noise[i]) }
    })
}

#[test]
fn gradients_of_attention_are_the_references_under_every_mask() {
    let (gpu, mut turns) = (gpu(), Turns::in_browsers_one_in(47));
    // Beside the others, columns beyond one dispatch, rows beyond one workgroup, and wide heads.
    let more = [
        [1, 2, 5_000, 2, 1, 4],
        [1, 5_000, 3, 2, 1, 4],
        [2, 70, 133, 2, 1, 8],
        [1, 3, 40, 2, 2, 252],
        [1, 40, 270, 4, 2, 64],
        [2, 5, 96, 6, 2, 128],
        [1, 5, 9, 2, 1, 420],
    ];
    for (case, sizes) in DIMS.into_iter().skip(1).step_by(2).chain(more).enumerate() {
        let [b, t, s, h, hkv, d] = sizes;
        let (q, k) = (values(b * t * h * d, 1), values(b * s * hkv * d, 2));
        let operands = AttentionCase::new(&gpu, sizes, (q, DType::F32), (k, DType::F32));
        let least = wgpu::Limits::default();
        let forms = Role::ALL.map(|role| {
            let fits = |form: &Form| [&least, gpu.limits()].iter().all(|limits| form.fits(role, d, limits));
            FORMS.into_iter().filter(fits).collect::<Vec<_>>()
        });
        for step in 0..24u32 {
            let flags = (step * 5 % 64) ^ case as u32;
            if s.max(t) > 1000 && step > 3 || !turns.next_is_run() {
                continue;
            }
            // Each case meets one form in each role; more would mostly compile.
            let [dq_form, dk_form] =
                [0, 1].map(|role: usize| forms[role][(3 * case + role) % forms[role].len()]);
            let d_out = d_out(&operands, flags, sizes);
            let got = operands.differentiate(&gpu, [dq_form, dk_form], flags, case, &d_out);
            let hidden_to_zero = d_out.map(|x| if x.is_nan() { 0.0 } else { *x });
            let expected = operands.expected_gradients(flags, case, &hidden_to_zero);
            let expected = [&expected.dq, &expected.dk, &expected.dv];
            for ((name, got), expected) in ["dq", "dk", "dv"].into_iter().zip(&got).zip(expected) {
                let form = if name == "dq" { dq_form.name } else { dk_form.name };
                // dp − delta may cancel, of D products each. What is 0 but for rounding is no scale to measure by.
                let expected = expected.map(|&x| if x.abs() < 1e-12 { 0.0 } else { x });
                let largest = expected.data().iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                let cancelled = if name == "dv" || largest == 0.0 { 0.0 } else { 1e-7 * d as f64 / largest };
                let tolerance = cancelled.max(1e-5);
                check(&format!("{name} {sizes:?} flags {flags:06b} {form}"), got, expected.data(), tolerance);
            }
        }
    }
}
