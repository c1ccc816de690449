//! `x = 0` where x is NaN or infinite, in place.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::dispatch::element_windows;
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "zero_nonfinite",
    source: source!("attention/masks/zero_nonfinite"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("x")],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

/// Elements per lane, as in the WGSL.
const PER_LANE: u32 = 16;

params! {
    /// The parameters of a dispatch.
    struct Params {
        count: u32,
    }
}

/// Records the kernel for the first `count` f32 of x.
pub(crate) fn zero_nonfinite(pass: &mut Pass<'_>, x: BufferRange<'_>, count: usize) -> Result<()> {
    for (_, count, ranges) in element_windows(pass.gpu(), count, [x]) {
        let params = Params { count: count as u32 };
        let workgroups = u64::from(params.count).div_ceil(u64::from(KERNEL.workgroup_size * PER_LANE));
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &ranges, workgroups)?;
    }
    Ok(())
}
