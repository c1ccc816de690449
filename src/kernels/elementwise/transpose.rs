//! `y[c,r] = x[r,c]`, to f32.

use crate::gpu::{Binding, BufferRange, Constant, Kernel, Operand, Parameters, Pass, element_constant};
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "transpose",
    source: source!("elementwise/transpose"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Read("x"), Binding::Write("y")],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

/// Rows and columns of a workgroup's tile.
const TILE: usize = 32;

params! {
    /// The parameters of a dispatch.
    struct Params {
        rows: u32,
        columns: u32,
        tiles: u32,
    }
}

fn constants(x: DType) -> [(&'static str, Constant); 1] {
    [("X_TYPE", element_constant(x))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    crate::kernels::FLOATS.iter().map(|&x| constants(x).to_vec()).collect()
}

/// Records x `[rows,columns]` → y `[columns,rows]` f32. Each must fit one binding.
pub(crate) fn transpose(
    pass: &mut Pass<'_>,
    x: Operand<'_>,
    [rows, columns]: [usize; 2],
    y: BufferRange<'_>,
) -> Result<()> {
    let tiles = rows.div_ceil(TILE) * columns.div_ceil(TILE);
    let params = Params { rows: rows as u32, columns: columns as u32, tiles: tiles as u32 };
    pass.dispatch(&KERNEL, &constants(x.dtype), Parameters::of(&params, false), &[x.range, y], tiles as u64)
}
