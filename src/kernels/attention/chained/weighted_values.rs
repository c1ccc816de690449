//! `out = probs · v`.

use super::{BLOCK, TILE_OUTPUTS};
use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Operand, Parameters, Pass, element_constant};
use crate::kernels::attention::problem::{Problem, ProblemParams};
use crate::kernels::dispatch::{loop_ranges, tile_ranges};
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::shapes::Queries;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "weighted_values",
    source: source!("attention/chained/weighted_values"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("probs"),
        Binding::Read("v"),
        Binding::Write("out"),
    ],
    workgroup_size: 8,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        problem: ProblemParams,
        /// The queries of this dispatch.
        query_begin: u32,
        queries: u32,
        head_dim: u32,
        /// The keys of this dispatch.
        key_begin: u32,
        key_end: u32,
        tiles_row: u32,
        tiles_d: u32,
        /// The tiles of this dispatch.
        tile_begin: u32,
        tile_end: u32,
    }
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    crate::kernels::FLOATS.iter().map(|&v| vec![("V_TYPE", element_constant(v))]).collect()
}

/// Records probs `[B,H,queries,S]` f32, v `[B,S,Hkv,D]` → out `[B,T,H,D]` f32.
pub(crate) fn weighted_values(
    pass: &mut Pass<'_>,
    problem: &Problem,
    queries: Queries,
    probs: BufferRange<'_>,
    v: Operand<'_>,
    out: BufferRange<'_>,
) -> Result<()> {
    // Dropout has been applied. Its seed would make these parameters passing instead of lasting.
    let problem = Problem { dropout: None, ..*problem };
    let dims = &problem.dims;
    let tiles_row = ((queries.count * dims.group_size()) as u32).div_ceil(BLOCK);
    let tiles_d = (dims.head_dim as u32).div_ceil(BLOCK * KERNEL.workgroup_size);
    let tiles = u64::from(tiles_row) * u64::from(tiles_d) * (dims.batch * dims.key_heads) as u64;
    let constants = [("V_TYPE", element_constant(v.dtype))];
    for (key_begin, key_end) in loop_ranges(dims.key_len) {
        let work = u64::from(TILE_OUTPUTS) * u64::from(key_end - key_begin);
        for (tile_begin, tile_end) in tile_ranges(tiles, work) {
            let params = Params {
                problem: problem.params(),
                query_begin: queries.begin as u32,
                queries: queries.count as u32,
                head_dim: dims.head_dim as u32,
                key_begin,
                key_end,
                tiles_row,
                tiles_d,
                tile_begin,
                tile_end,
            };
            let workgroups = u64::from(tile_end - tile_begin);
            pass.dispatch(
                &KERNEL,
                &constants,
                Parameters::of(&params, false),
                &[probs, v.range, out],
                workgroups,
            )?;
        }
    }
    Ok(())
}
