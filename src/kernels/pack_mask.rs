//! Masks of bytes to rows of bits.

use bytemuck::{Pod, Zeroable};

use super::GRID;
use crate::Result;
use crate::gpu::{Binding, Constant, Kernel, Parameters, Pass, Slot};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "pack_mask",
    sources: &[GRID, include_str!("../../shaders/pack_mask.wgsl")],
    generate: None,
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
    base: u32,
    padding: [u32; 3],
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
pub(crate) fn pack_mask<'a>(
    pass: &mut Pass<'_>,
    mask: Slot<'a>,
    second: Option<Slot<'a>>,
    bits: Slot<'a>,
    [rows, length, start]: [usize; 3],
) -> Result<()> {
    let words_per_row = words_per_row(length);
    let constants = [("HAS_SECOND", Constant::Bool(second.is_some()))];
    let limits = pass.gpu().binding_limits();
    for (first, rows) in limits.ranges(rows, &[length as u64]) {
        let window = |slot| limits.window(slot, (first * length) as u64, (rows * length) as u64);
        let (mask, base) = window(mask);
        let second = second.map_or(mask, |second| window(second).0);
        let params = Params {
            rows: rows as u32,
            length: length as u32,
            words_per_row: words_per_row as u32,
            start: (start + first * words_per_row) as u32,
            base: base as u32,
            padding: [0; 3],
        };
        let workgroups = (rows * words_per_row).div_ceil(KERNEL.workgroup_size as usize) as u64;
        let slots = [mask, second, bits];
        pass.dispatch(&KERNEL, &constants, Parameters::of(&params, false), &slots, workgroups)?;
    }
    Ok(())
}
