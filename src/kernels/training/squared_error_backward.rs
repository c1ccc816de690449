//! `d_output = factor · (output − target)`: the gradient of a mean of squared errors, for `factor` = 2 / count.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::dispatch::element_windows;
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "squared_error_backward",
    source: source!("training/squared_error_backward"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("output"),
        Binding::Read("goal"),
        Binding::Write("d_output"),
    ],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        /// Elements of this dispatch.
        count: u32,
        factor: f32,
    }
}

/// Records the gradient; output, target and d_output are `[count]` f32.
pub(crate) fn squared_error_backward(
    pass: &mut Pass<'_>,
    factor: f32,
    [output, target]: [BufferRange<'_>; 2],
    d_output: BufferRange<'_>,
    count: usize,
) -> Result<()> {
    for (_, count, ranges) in element_windows(pass.gpu(), count, [output, target, d_output]) {
        let params = Params { count: count as u32, factor };
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &ranges, workgroups)?;
    }
    Ok(())
}
