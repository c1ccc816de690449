//! `gate = sigmoid(gate)` in place, and `gated = gate ∘ out`.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::dispatch::element_windows;
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "gate",
    source: source!("elementwise/gate"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Write("gate"),
        Binding::Read("out"),
        Binding::Write("gated"),
    ],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        count: u32,
    }
}

/// Records the kernel for `count` f32 of gate (before its sigmoid), out and gated.
pub(crate) fn gate(pass: &mut Pass<'_>, ranges: [BufferRange<'_>; 3], count: usize) -> Result<()> {
    for (_, count, ranges) in element_windows(pass.gpu(), count, ranges) {
        let params = Params { count: count as u32 };
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &ranges, workgroups)?;
    }
    Ok(())
}
