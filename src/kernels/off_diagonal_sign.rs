//! `p = factor · sign(p)` off the diagonal, 0 on it: the gradient of `factor · Σ|p|` over what is off the diagonal.

use bytemuck::{Pod, Zeroable};

use super::{GRID, element_windows};
use crate::Result;
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "off_diagonal_sign",
    sources: &[GRID, include_str!("../../shaders/off_diagonal_sign.wgsl")],
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("p")],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    count: u32,
    first: u32,
    diagonal: u32,
    factor: f32,
}

/// Records p `[size,size]` f32 → factor · sign, in place.
pub(crate) fn off_diagonal_sign(pass: &mut Pass<'_>, factor: f32, p: Slot<'_>, size: usize) -> Result<()> {
    for (first, count, slots) in element_windows(pass.gpu(), size * size, [p]) {
        let params = Params { count: count as u32, first: first as u32, diagonal: size as u32 + 1, factor };
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &slots, workgroups)?;
    }
    Ok(())
}
