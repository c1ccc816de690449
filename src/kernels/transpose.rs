//! `y[c,r] = x[r,c]`, to f32.

use bytemuck::{Pod, Zeroable};

use super::{ELEMENTS, GRID};
use crate::gpu::{Binding, Constant, Kernel, Parameters, Pass, Slot, element_constant};
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "transpose",
    sources: &[GRID, ELEMENTS, include_str!("../../shaders/transpose.wgsl")],
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Read("x"), Binding::Write("y")],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

/// Rows and columns of a workgroup.
const TILE: usize = 32;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    columns: u32,
    tiles: u32,
}

fn constants(x: DType) -> [(&'static str, Constant); 1] {
    [("X_TYPE", element_constant(x))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    super::FLOATS.iter().map(|&x| constants(x).to_vec()).collect()
}

/// Records x `[rows,columns]` → y `[columns,rows]` f32. Each must fit one binding.
pub(crate) fn transpose(
    pass: &mut Pass<'_>,
    (x, x_type): (Slot<'_>, DType),
    [rows, columns]: [usize; 2],
    y: Slot<'_>,
) -> Result<()> {
    let tiles = rows.div_ceil(TILE) * columns.div_ceil(TILE);
    let params = Params { rows: rows as u32, columns: columns as u32, tiles: tiles as u32 };
    pass.dispatch(&KERNEL, &constants(x_type), Parameters::of(&params, false), &[x, y], tiles as u64)
}
