//! The dispatches of the gradients: windows of batch elements, ranges of columns and of tiles.

use super::interface::{Form, Operands, Params, Role};
use crate::Result;
use crate::gpu::{BufferRange, Pass};
use crate::kernels::attention::problem::Problem;
use crate::kernels::dispatch::{LOOP_LIMIT, tile_ranges};
use crate::shapes::Dims;

/// Records one role: q, k, v, d_out and stats → dq, or dk and dv.
pub(crate) fn attention_backward<'a>(
    pass: &mut Pass<'_>,
    problem: &Problem,
    operands: &Operands<'a>,
    role: Role,
    form: Form,
) -> Result<()> {
    let Dims { batch, query_len, key_len, query_heads, key_heads, head_dim } = problem.dims;
    let (layout, dropout) = (form.layout, problem.dropout.is_some());
    let (rows, columns, heads) = role.extent(problem);
    let constants = layout.constants(role, head_dim, dropout);
    let chunks = layout.chunks(head_dim);
    let tiles_row = rows.div_ceil(layout.tile_rows() as usize);
    let iterations = layout.iterations(role, head_dim, dropout) as usize;
    let step = (LOOP_LIMIT / (iterations * heads)).max(1) * layout.block() as usize;
    // A binding that a role does not write still needs a buffer.
    let unused = pass.workspace("unused", 4);
    let limits = pass.gpu().binding_limits();
    let row_bytes = [query_len * query_heads, key_len * key_heads].map(|rows| (rows * head_dim * 4) as u64);
    for (batch_begin, batches) in limits.ranges(batch, &row_bytes) {
        let window = |range: BufferRange<'a>, bytes: u64| {
            limits.window(range, batch_begin as u64 * bytes, batches as u64 * bytes)
        };
        let of_queries = |range| window(range, row_bytes[0]).0;
        let of_keys = |range| window(range, row_bytes[1]).0;
        let (_, q_shift) = window(operands.q, row_bytes[0]);
        let (_, k_shift) = window(operands.k, row_bytes[1]);
        let (q, d_out) = (of_queries(operands.q), of_queries(operands.d_out));
        let (k, v) = (of_keys(operands.k), of_keys(operands.v));
        let (stats, bits) = (operands.stats, operands.mask_bits);
        let ranges = match role {
            Role::Queries => [q, d_out, k, v, stats, bits, of_queries(operands.dq), unused.range()],
            Role::Keys => [k, v, q, d_out, stats, bits, of_keys(operands.dk), of_keys(operands.dv)],
        };
        let tiles = tiles_row as u64 * (key_heads * batches) as u64 * u64::from(chunks);
        for column_begin in (0..columns).step_by(step) {
            let column_end = (column_begin + step).min(columns);
            let pairs = u64::from(layout.tile_rows()) * ((column_end - column_begin) * heads) as u64;
            for (tile_begin, tile_end) in tile_ranges(tiles, role.products() * pairs * head_dim as u64) {
                let params = Params {
                    problem: problem.params(),
                    batch_begin: batch_begin as u32,
                    q_base: (q_shift / 4) as u32,
                    k_base: (k_shift / 4) as u32,
                    tiles_row: tiles_row as u32,
                    chunks,
                    tile_begin,
                    tile_end,
                    column_begin: column_begin as u32,
                    column_end: column_end as u32,
                };
                let workgroups = u64::from(tile_end - tile_begin);
                pass.dispatch(layout.kernel(), &constants, problem.parameters(&params), &ranges, workgroups)?;
            }
        }
    }
    Ok(())
}
