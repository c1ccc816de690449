//! Packs masks of bytes into rows of bits.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Constant, Kernel, Parameters, Pass};
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "pack_mask",
    source: source!("attention/masks/pack_mask"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("mask"),
        Binding::Read("second"),
        Binding::Write("bits"),
    ],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        rows: u32,
        length: u32,
        words_per_row: u32,
        /// The first word of the first row in `bits`.
        start: u32,
        /// The offset of the first row in `mask` and `second`.
        base: u32,
    }
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    [false, true].map(|second| vec![("HAS_SECOND", Constant::Bool(second))]).to_vec()
}

/// Words of a packed row with this many mask elements.
pub(crate) fn words_per_row(length: usize) -> usize {
    length.div_ceil(32)
}

/// Records packing `rows` rows of `length` elements into `bits` from word `start` on; with `second`, the conjunction of both.
pub(crate) fn pack_mask<'a>(
    pass: &mut Pass<'_>,
    mask: BufferRange<'a>,
    second: Option<BufferRange<'a>>,
    bits: BufferRange<'a>,
    [rows, length, start]: [usize; 3],
) -> Result<()> {
    let words_per_row = words_per_row(length);
    let constants = [("HAS_SECOND", Constant::Bool(second.is_some()))];
    let limits = pass.gpu().binding_limits();
    for (first, rows) in limits.ranges(rows, &[length as u64]) {
        let window = |range| limits.window(range, (first * length) as u64, (rows * length) as u64);
        let (mask, base) = window(mask);
        let second = second.map_or(mask, |second| window(second).0);
        let params = Params {
            rows: rows as u32,
            length: length as u32,
            words_per_row: words_per_row as u32,
            start: (start + first * words_per_row) as u32,
            base: base as u32,
        };
        let workgroups = (rows * words_per_row).div_ceil(KERNEL.workgroup_size as usize) as u64;
        let ranges = [mask, second, bits];
        pass.dispatch(&KERNEL, &constants, Parameters::of(&params, false), &ranges, workgroups)?;
    }
    Ok(())
}
