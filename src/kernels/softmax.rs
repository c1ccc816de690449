//! `probs = softmax(scores)` in place, and lse.

use bytemuck::{Pod, Zeroable};

use super::GRID;
use crate::Result;
use crate::gpu::{Binding, Kernel, Pass, Slot};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "softmax",
    sources: &[GRID, include_str!("../../shaders/softmax.wgsl")],
    bindings: &[Binding::Uniform("params"), Binding::Write("scores"), Binding::Write("lse")],
    workgroup_size: 32,
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    key_len: u32,
}

/// Records scores → probs `[rows,S]` in place and lse `[rows]`, both f32; rows = B·H·T.
pub(crate) fn softmax(
    pass: &mut Pass<'_>,
    scores: Slot<'_>,
    lse: Slot<'_>,
    rows: usize,
    key_len: usize,
) -> Result<()> {
    let params = Params { rows: rows as u32, key_len: key_len as u32 };
    pass.dispatch(&KERNEL, &[], bytemuck::bytes_of(&params), &[scores, lse], rows as u64)
}
