//! `p = factor · sign(p)` off the diagonal, 0 on it: the gradient of `factor · Σ|p|` over the off-diagonal elements.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::dispatch::element_windows;
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "off_diagonal_sign",
    source: source!("training/off_diagonal_sign"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("p")],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        /// Elements of this dispatch, from the flat index `first` on.
        count: u32,
        first: u32,
        /// size + 1: the flat indices of the diagonal are its multiples.
        diagonal: u32,
        factor: f32,
    }
}

/// Records p `[size,size]` f32 → factor · sign, in place.
pub(crate) fn off_diagonal_sign(
    pass: &mut Pass<'_>,
    factor: f32,
    p: BufferRange<'_>,
    size: usize,
) -> Result<()> {
    for (first, count, ranges) in element_windows(pass.gpu(), size * size, [p]) {
        let params = Params { count: count as u32, first: first as u32, diagonal: size as u32 + 1, factor };
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &ranges, workgroups)?;
    }
    Ok(())
}
