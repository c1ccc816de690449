//! `gradient += l1 · sign(x) + 2 · l2 · x`: the gradient of `l1 · Σ|x| + l2 · Σx²`.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::dispatch::element_windows;
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "l1_l2_backward",
    source: source!("training/l1_l2_backward"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Read("x"), Binding::Write("gradient")],
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

/// Records the gradient of x `[count]` f32, added to `gradient` `[count]` f32.
pub(crate) fn l1_l2_backward(
    pass: &mut Pass<'_>,
    [l1, l2]: [f32; 2],
    x: BufferRange<'_>,
    gradient: BufferRange<'_>,
    count: usize,
) -> Result<()> {
    for (_, count, ranges) in element_windows(pass.gpu(), count, [x, gradient]) {
        let params = Params { count: count as u32, l1, l2 };
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &ranges, workgroups)?;
    }
    Ok(())
}
