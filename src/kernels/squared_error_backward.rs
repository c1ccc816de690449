//! `d_output = factor · (output − target)`: the gradient of a mean of squared errors, for `factor` = 2 / count.

use bytemuck::{Pod, Zeroable};

use super::{GRID, element_windows};
use crate::Result;
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "squared_error_backward",
    sources: &[GRID, include_str!("../../shaders/squared_error_backward.wgsl")],
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("output"),
        Binding::Read("goal"),
        Binding::Write("d_output"),
    ],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    count: u32,
    factor: f32,
}

/// Records the gradient; output, target and d_output are `[count]` f32.
pub(crate) fn squared_error_backward(
    pass: &mut Pass<'_>,
    factor: f32,
    [output, target]: [Slot<'_>; 2],
    d_output: Slot<'_>,
    count: usize,
) -> Result<()> {
    for (_, count, slots) in element_windows(pass.gpu(), count, [output, target, d_output]) {
        let params = Params { count: count as u32, factor };
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &slots, workgroups)?;
    }
    Ok(())
}
