//! Masks of bytes to rows of bits.

use bytemuck::{Pod, Zeroable};

use super::GRID;
use crate::Result;
use crate::gpu::{Binding, Constant, Kernel, Pass, Slot};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "pack_mask",
    sources: &[GRID, include_str!("../../shaders/pack_mask.wgsl")],
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("mask"),
        Binding::Read("second"),
        Binding::Write("bits"),
    ],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    length: u32,
    words_per_row: u32,
    start: u32,
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    [false, true].map(|second| vec![("HAS_SECOND", Constant::Bool(second))]).to_vec()
}

/// Words that a packed row of so many mask elements takes.
pub(crate) fn words_per_row(length: usize) -> usize {
    length.div_ceil(32)
}

/// Packs `rows` rows of `length` elements into `bits` from word `start` on; with `second`, the conjunction of both.
pub(crate) fn pack_mask(
    pass: &mut Pass<'_>,
    mask: Slot<'_>,
    second: Option<Slot<'_>>,
    bits: Slot<'_>,
    [rows, length, start]: [usize; 3],
) -> Result<()> {
    let words_per_row = words_per_row(length);
    let params = Params {
        rows: rows as u32,
        length: length as u32,
        words_per_row: words_per_row as u32,
        start: start as u32,
    };
    let workgroups = (rows * words_per_row).div_ceil(KERNEL.workgroup_size as usize) as u64;
    let constants = [("HAS_SECOND", Constant::Bool(second.is_some()))];
    let slots = [mask, second.unwrap_or(mask), bits];
    pass.dispatch(&KERNEL, &constants, bytemuck::bytes_of(&params), &slots, workgroups)
}
