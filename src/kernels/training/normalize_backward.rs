//! `dx += (dn − n · dots) / max(norm, ε)`: the gradient of [`normalize`](super::normalize).

use super::normalize::{Params, Vectors};
use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::params;
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "normalize_backward",
    source: source!("training/normalize_backward"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("n"),
        Binding::Read("dn"),
        Binding::Read("squares"),
        Binding::Read("dots"),
        Binding::Write("dx"),
    ],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

/// Records n, dn `[vectors,length]`, squares, dots `[vectors]` → added to dx, which is laid out like x; all f32. dots are the
/// dot products of n and dn per vector.
pub(crate) fn normalize_backward(
    pass: &mut Pass<'_>,
    vectors: &Vectors,
    [n, dn]: [BufferRange<'_>; 2],
    [squares, dots]: [BufferRange<'_>; 2],
    dx: BufferRange<'_>,
) -> Result<()> {
    let workgroups = vectors.workgroups(KERNEL.workgroup_size);
    let params = vectors.params();
    pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &[n, dn, squares, dots, dx], workgroups)
}
