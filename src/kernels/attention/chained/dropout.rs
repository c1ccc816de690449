//! Dropout of probabilities, by coordinates.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Pass};
use crate::kernels::attention::problem::{Problem, ProblemParams};
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::shapes::Queries;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "dropout",
    source: source!("attention/chained/dropout"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("probs")],
    workgroup_size: 32,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        problem: ProblemParams,
        /// The queries of this dispatch.
        query_begin: u32,
        queries: u32,
        /// Philox blocks in a row, and in all.
        row_blocks: u32,
        blocks: u32,
    }
}

/// Records probs `[B,H,queries,S]` f32 → dropped and scaled, in place.
pub(crate) fn dropout(
    pass: &mut Pass<'_>,
    problem: &Problem,
    queries: Queries,
    probs: BufferRange<'_>,
) -> Result<()> {
    let dims = &problem.dims;
    let row_blocks = dims.key_len.div_ceil(4);
    let blocks = dims.batch * dims.query_heads * queries.count * row_blocks;
    let params = Params {
        problem: problem.params(),
        query_begin: queries.begin as u32,
        queries: queries.count as u32,
        row_blocks: row_blocks as u32,
        blocks: blocks as u32,
    };
    let workgroups = blocks.div_ceil(KERNEL.workgroup_size as usize) as u64;
    pass.dispatch(&KERNEL, &[], problem.parameters(&params), &[probs], workgroups)
}
