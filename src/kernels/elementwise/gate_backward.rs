//! The gradients of a gate: `d_out = d_gated ∘ gate`, and `d_z` for the argument of its sigmoid.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::dispatch::element_windows;
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "gate_backward",
    source: source!("elementwise/gate_backward"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Write("gate"),
        Binding::Read("out"),
        Binding::Write("d_gated"),
    ],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        count: u32,
        l1: f32,
        l2: f32,
    }
}

/// Records the kernel for `count` f32 of gate (overwritten by d_z), out and d_gated (overwritten by d_out). `penalty` has the
/// factors of |gate| and gate² in the loss.
pub(crate) fn gate_backward(
    pass: &mut Pass<'_>,
    ranges: [BufferRange<'_>; 3],
    count: usize,
    [l1, l2]: [f32; 2],
) -> Result<()> {
    for (_, count, ranges) in element_windows(pass.gpu(), count, ranges) {
        let params = Params { count: count as u32, l1, l2 };
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &ranges, workgroups)?;
    }
    Ok(())
}
