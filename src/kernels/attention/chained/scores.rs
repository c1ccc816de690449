//! `scores = score(q · kᵀ)` where visible, else −inf.

use super::{BLOCK, TILE_OUTPUTS};
use crate::Result;
use crate::gpu::{Binding, BufferRange, Constant, Kernel, Operand, Pass, element_constant};
use crate::kernels::attention::problem::{Problem, ProblemParams};
use crate::kernels::dispatch::tile_ranges;
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::shapes::Queries;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "scores",
    source: source!("attention/chained/scores"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("q"),
        Binding::Read("k"),
        Binding::Read("mask_bits"),
        Binding::Write("scores"),
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
        tiles_row: u32,
        tiles_key: u32,
        /// The tiles of this dispatch.
        tile_begin: u32,
        tile_end: u32,
    }
}

fn constants(operands: &Scores<'_>) -> [(&'static str, Constant); 2] {
    [("Q_TYPE", element_constant(operands.q.dtype)), ("K_TYPE", element_constant(operands.k.dtype))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    use crate::kernels::FLOATS;
    let variant = |q, k| vec![("Q_TYPE", element_constant(q)), ("K_TYPE", element_constant(k))];
    FLOATS.iter().flat_map(|&q| FLOATS.map(move |k| variant(q, k))).collect()
}

/// The operands of the scores of a range of queries.
#[derive(Clone, Copy)]
pub(crate) struct Scores<'a> {
    /// q `[B,T,H,D]`
    pub(crate) q: Operand<'a>,
    /// k `[B,S,Hkv,D]`
    pub(crate) k: Operand<'a>,
    /// Mask bits, laid out as the problem's visibility says.
    pub(crate) mask_bits: BufferRange<'a>,
    /// scores `[B,H,queries,S]` f32
    pub(crate) scores: BufferRange<'a>,
}

/// Records the scores of these queries.
pub(crate) fn scores(
    pass: &mut Pass<'_>,
    problem: &Problem,
    queries: Queries,
    operands: &Scores<'_>,
) -> Result<()> {
    // The kernel does not use dropout. Its seed would make these parameters passing instead of lasting.
    let problem = Problem { dropout: None, ..*problem };
    let dims = &problem.dims;
    let tiles_row = ((queries.count * dims.group_size()) as u32).div_ceil(BLOCK);
    let tiles_key = (dims.key_len as u32).div_ceil(BLOCK * KERNEL.workgroup_size);
    let tiles = u64::from(tiles_row) * u64::from(tiles_key) * (dims.batch * dims.key_heads) as u64;
    let ranges = [operands.q.range, operands.k.range, operands.mask_bits, operands.scores];
    let work = u64::from(TILE_OUTPUTS) * dims.head_dim as u64;
    for (tile_begin, tile_end) in tile_ranges(tiles, work) {
        let params = Params {
            problem: problem.params(),
            query_begin: queries.begin as u32,
            queries: queries.count as u32,
            head_dim: dims.head_dim as u32,
            tiles_row,
            tiles_key,
            tile_begin,
            tile_end,
        };
        let workgroups = u64::from(tile_end - tile_begin);
        pass.dispatch(&KERNEL, &constants(operands), problem.parameters(&params), &ranges, workgroups)?;
    }
    Ok(())
}
