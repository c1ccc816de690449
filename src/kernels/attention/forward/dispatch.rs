//! The dispatches of fused attention: splits, binding windows, ranges of keys and of tiles.

use super::combine_splits::combine_splits;
use super::interface::{Form, Operands, Params, Variant};
use crate::gpu::{BufferRange, Gpu, Operand, Pass};
use crate::kernels::attention::problem::Problem;
use crate::kernels::dispatch::tile_ranges;
use crate::shapes::Dims;
use crate::{Error, Result};

/// Records q, k, v → out and lse. If keys may be hidden or dropped, the problem's visibility must locate the bits that
/// `nonfinite_keys` wrote.
pub(crate) fn attention_forward(
    pass: &mut Pass<'_>,
    problem: &Problem,
    operands: &Operands<'_>,
    form: Form,
) -> Result<()> {
    let Dims { batch, query_len, query_heads, head_dim, .. } = problem.dims;
    let splits = if keys_fit(pass.gpu(), problem, operands) { form.splits(&problem.dims) } else { 1 };
    let rows = (batch * query_heads * query_len) as u64;
    let state = pass.workspace("state", 2 * rows * u64::from(splits));
    if splits == 1 {
        return Run { problem, operands, form, splits, out: operands.out, state: state.range() }.record(pass);
    }
    let parts = pass.workspace("parts", rows * u64::from(splits) * head_dim as u64);
    let run = Run { problem, operands, form, splits, out: parts.range(), state: state.range() };
    run.record(pass)?;
    combine_splits(pass, problem, splits, [parts.range(), state.range(), operands.out, operands.lse])
}

/// Whether the keys and values of one batch element fit a binding each, so that they can be split over workgroups.
fn keys_fit(gpu: &Gpu, problem: &Problem, operands: &Operands<'_>) -> bool {
    let elements = problem.dims.key_len * problem.dims.key_heads * problem.dims.head_dim;
    let bytes = [operands.k, operands.v].map(|operand| (elements * operand.dtype.size()) as u64);
    bytes.iter().all(|&bytes| bytes + gpu.binding_limits().alignment <= gpu.binding_limits().bytes)
}

/// A run of attention in one form.
struct Run<'r, 'a> {
    problem: &'r Problem,
    operands: &'r Operands<'a>,
    form: Form,
    splits: u32,
    /// `[splits,B,T,H,D]`
    out: BufferRange<'r>,
    state: BufferRange<'r>,
}

/// A part of the work whose operands fit one binding each: the first and the number of batch elements, queries and keys.
struct Window {
    batches: (usize, usize),
    queries: (usize, usize),
    keys: (usize, usize),
}

impl Run<'_, '_> {
    fn record(&self, pass: &mut Pass<'_>) -> Result<()> {
        let limits = pass.gpu().binding_limits();
        let Dims { batch, query_len, key_len, query_heads, key_heads, head_dim } = self.problem.dims;
        let Operands { q, k, v, .. } = self.operands;
        let query_bytes = [q.dtype.size(), 4].map(|size| (query_heads * head_dim * size) as u64);
        let key_bytes = [k.dtype.size(), v.dtype.size()].map(|size| (key_heads * head_dim * size) as u64);
        let batch_bytes = [
            query_bytes[0] * query_len as u64,
            query_bytes[1] * query_len as u64,
            key_bytes[0] * key_len as u64,
            key_bytes[1] * key_len as u64,
        ];
        for batches in limits.ranges(batch, &batch_bytes) {
            // Either several batch elements fit, or one element's queries and keys are split into windows.
            for queries in limits.ranges(query_len, &query_bytes.map(|bytes| bytes * batches.1 as u64)) {
                let key_bytes = key_bytes.map(|bytes| bytes * batches.1 as u64);
                for keys in limits.ranges_of(self.form.key_block(), key_len, &key_bytes) {
                    self.record_window(pass, &Window { batches, queries, keys })?;
                }
            }
        }
        Ok(())
    }

    fn record_window(&self, pass: &mut Pass<'_>, window: &Window) -> Result<()> {
        let Self { problem, operands, form, splits, .. } = *self;
        let Dims { batch, query_len, key_len, query_heads, key_heads, head_dim } = problem.dims;
        let limits = pass.gpu().binding_limits();
        let (first_batch, batches) = window.batches;
        let bound = |operand, len, heads, (first, count): (usize, usize)| {
            let Operand { range, dtype } = operand;
            let row = (heads * head_dim * dtype.size()) as u64;
            let begin = (first_batch * len + first) as u64 * row;
            let rows = (batches - 1) * len + count;
            let (range, shift) = limits.window(range, begin, rows as u64 * row);
            (range, (shift / dtype.size() as u64) as u32)
        };
        let (q, q_base) = bound(operands.q, query_len, query_heads, window.queries);
        let (k, k_base) = bound(operands.k, key_len, key_heads, window.keys);
        let (v, v_base) = bound(operands.v, key_len, key_heads, window.keys);
        let (out, out_base) = match splits {
            1 => bound(Operand::f32(self.out), query_len, query_heads, window.queries),
            // Bound whole. Only problems with few rows are split, so queries need no windows; batch elements may.
            _ => (self.out, (first_batch * query_len * query_heads * head_dim) as u32),
        };
        let ranges = [q, k, v, operands.mask_bits, out, operands.lse, self.state];
        let variant = Variant {
            types: [operands.q.dtype, operands.k.dtype, operands.v.dtype],
            head_dim,
            dropout: problem.dropout.is_some(),
            guard_nonfinite: problem.visibility.has_nonfinite_keys(),
            partial: splits > 1,
        };
        let (layout, matrix) = (form.layout, pass.gpu().matrix_config());
        if layout.uses_matrices() && matrix.is_none() {
            let expected = "one without cooperative matrices";
            return Err(Error::argument(layout.kernel().name, "form", expected, form.name));
        }
        let constants = layout.constants(&variant, matrix);

        let rows = batch * query_heads * query_len;
        let tiles = form.tiles(&problem.dims, window.queries.1) * batches as u64 * u64::from(splits);
        let keys_per_split = key_len.div_ceil(form.key_block()).div_ceil(splits as usize) * form.key_block();
        let (first_key, last_key) = (window.keys.0, window.keys.0 + window.keys.1);
        let step = if splits == 1 { form.keys_per_dispatch(head_dim, variant.dropout) } else { key_len };
        for key_begin in (first_key..last_key).step_by(step) {
            let key_end = (key_begin + step).min(last_key);
            let keys = keys_per_split.min(key_end - key_begin);
            let work = 2 * u64::from(layout.tile_rows()) * (keys * head_dim) as u64;
            for (tile_begin, tile_end) in tile_ranges(tiles, work) {
                let params = Params {
                    problem: problem.params(),
                    batch_begin: first_batch as u32,
                    query_begin: window.queries.0 as u32,
                    queries: window.queries.1 as u32,
                    key_base: first_key as u32,
                    keys: window.keys.1 as u32,
                    q_base,
                    out_base,
                    k_base,
                    v_base,
                    tiles_row: form.tiles_row(&problem.dims, window.queries.1) as u32,
                    tile_begin,
                    tile_end,
                    key_begin: key_begin as u32,
                    key_end: key_end as u32,
                    splits,
                    keys_per_split: if splits == 1 { key_len as u32 } else { keys_per_split as u32 },
                    out_stride: (rows * head_dim) as u32,
                    state_stride: rows as u32,
                };
                let workgroups = u64::from(tile_end - tile_begin);
                pass.dispatch(layout.kernel(), &constants, problem.parameters(&params), &ranges, workgroups)?;
            }
        }
        Ok(())
    }
}
