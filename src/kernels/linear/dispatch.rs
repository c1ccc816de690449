//! The dispatches of a projection: windows of rows, ranges of k and of tiles.

use super::Linear;
use super::interface::{Form, Operands, Params, Variant};
use crate::gpu::{BufferRange, Parameters, Pass};
use crate::kernels::dispatch::{loop_ranges, tile_ranges};
use crate::{Error, Result};

/// Records the projection.
pub(crate) fn linear<'a>(
    pass: &mut Pass<'_>,
    problem: &Linear,
    operands: &Operands<'a>,
    form: Form,
) -> Result<()> {
    let Operands { x, w, bias, multiplicand, y, add } = *operands;
    let [m, k, n] = problem.sizes;
    let variant = Variant {
        types: [x.dtype, w.dtype],
        aligned: k.is_multiple_of(4) && n.is_multiple_of(4),
        bias: bias.is_some(),
        gate: multiplicand.is_some(),
    };
    let (layout, matrix) = (form.layout, pass.gpu().matrix_config());
    if layout.uses_matrices() && matrix.is_none() {
        let expected = "one without cooperative matrices";
        return Err(Error::argument(layout.kernel().name, "form", expected, form.name));
    }
    let constants = layout.constants(&variant, matrix);
    let [tile_rows, tile_columns] = layout.tile();
    let w = w.range;
    let bias = bias.unwrap_or(w);
    let limits = pass.gpu().binding_limits();
    // Windows of rows of x and y that fit one binding each.
    let row_bytes = [(k * x.dtype.size()) as u64, (n * 4) as u64];
    for (first_row, rows) in limits.ranges(m, &row_bytes) {
        let rows_of = |range: BufferRange<'a>, bytes: u64, element: u64| {
            let (range, shift) = limits.window(range, first_row as u64 * bytes, rows as u64 * bytes);
            (range, (shift / element) as u32)
        };
        let (x, x_base) = rows_of(x.range, row_bytes[0], x.dtype.size() as u64);
        let (y, y_base) = rows_of(y, row_bytes[1], 4);
        // A binding that a variant does not read still needs a buffer.
        let multiplicand = multiplicand.map_or(w, |range| rows_of(range, row_bytes[1], 4).0);
        let tiles_n = (n as u32).div_ceil(tile_columns);
        let tiles = u64::from((rows as u32).div_ceil(tile_rows)) * u64::from(tiles_n);
        for (k_begin, k_end) in loop_ranges(k) {
            let work = u64::from(tile_rows * tile_columns) * u64::from(k_end - k_begin);
            for (tile_begin, tile_end) in tile_ranges(tiles, work) {
                let params = Params {
                    m: rows as u32,
                    k: k as u32,
                    n: n as u32,
                    k_begin,
                    k_end,
                    tiles_n,
                    tile_begin,
                    tile_end,
                    x_base,
                    y_base,
                    add: u32::from(add),
                };
                let ranges = [x, w, bias, multiplicand, y];
                let workgroups = u64::from(tile_end - tile_begin);
                let params = Parameters::of(&params, false);
                pass.dispatch(layout.kernel(), &constants, params, &ranges, workgroups)?;
            }
        }
    }
    Ok(())
}
