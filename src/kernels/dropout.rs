//! Dropout of probabilities, by coordinates.

use bytemuck::{Pod, Zeroable};

use super::{GRID, PHILOX};
use crate::Result;
use crate::dropout::Dropout;
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot};
use crate::shapes::{Dims, Queries};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "dropout",
    sources: &[GRID, PHILOX, include_str!("../../shaders/dropout.wgsl")],
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("probs")],
    workgroup_size: 32,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    queries: u32,
    key_len: u32,
    query_heads: u32,
    row_blocks: u32,
    blocks: u32,
    q_offset: u32,
    batch_offset: u32,
    threshold: u32,
    seed_low: u32,
    seed_high: u32,
    keep_scale: f32,
    padding: u32,
}

/// Records probs `[B,H,queries,S]` f32 → dropped and scaled, in place.
pub(crate) fn dropout(
    pass: &mut Pass<'_>,
    dims: &Dims,
    queries: Queries,
    dropout: &Dropout,
    probs: Slot<'_>,
) -> Result<()> {
    let row_blocks = dims.key_len.div_ceil(4);
    let blocks = dims.batch * dims.query_heads * queries.count * row_blocks;
    let params = Params {
        queries: queries.count as u32,
        key_len: dims.key_len as u32,
        query_heads: dims.query_heads as u32,
        row_blocks: row_blocks as u32,
        blocks: blocks as u32,
        q_offset: dropout.q_offset.wrapping_add(queries.begin as u32),
        batch_offset: dropout.batch_offset,
        threshold: dropout.threshold(),
        seed_low: dropout.seed as u32,
        seed_high: (dropout.seed >> 32) as u32,
        keep_scale: dropout.keep_scale() as f32,
        padding: 0,
    };
    let workgroups = blocks.div_ceil(KERNEL.workgroup_size as usize) as u64;
    pass.dispatch(&KERNEL, &[], Parameters::of(&params, true), &[probs], workgroups)
}
