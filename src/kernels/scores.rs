//! `scores = scale · q · kᵀ` where visible, else −inf.

use bytemuck::{Pod, Zeroable};

use super::{BLOCK, ELEMENTS, GRID, TILE_OUTPUTS, VISIBLE, tile_ranges};
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot, element_constant};
use crate::mask::Visibility;
use crate::shapes::{Dims, Queries};
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "scores",
    sources: &[GRID, ELEMENTS, VISIBLE, include_str!("../../shaders/scores.wgsl")],
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("q"),
        Binding::Read("k"),
        Binding::Read("mask_bits"),
        Binding::Write("scores"),
    ],
    workgroup_size: 8,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    visibility: Visibility,
    query_len: u32,
    query_begin: u32,
    queries: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    head_dim: u32,
    scale: f32,
    tiles_row: u32,
    tiles_key: u32,
    tile_begin: u32,
    tile_end: u32,
}

fn constants(q: DType, k: DType) -> [(&'static str, crate::gpu::Constant); 2] {
    [("Q_TYPE", element_constant(q)), ("K_TYPE", element_constant(k))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    super::FLOATS.iter().flat_map(|&q| super::FLOATS.iter().map(move |&k| constants(q, k).to_vec())).collect()
}

/// The operands of the scores of some queries.
pub(crate) struct Scores<'a> {
    pub(crate) queries: Queries,
    /// q `[B,T,H,D]`
    pub(crate) q: (Slot<'a>, DType),
    /// k `[B,S,Hkv,D]`
    pub(crate) k: (Slot<'a>, DType),
    /// What [`Masks::pack`](crate::mask::Masks::pack) gives.
    pub(crate) masks: (Visibility, Slot<'a>),
    pub(crate) scale: f32,
    /// scores `[B,H,queries,S]` f32
    pub(crate) scores: Slot<'a>,
}

/// Records the scores.
pub(crate) fn scores(pass: &mut Pass<'_>, dims: &Dims, operands: &Scores<'_>) -> Result<()> {
    let &Scores { queries, q: (q, q_type), k: (k, k_type), masks: (visibility, mask_bits), .. } = operands;
    let group_rows = queries.count * dims.group_size();
    let tiles_row = (group_rows as u32).div_ceil(BLOCK);
    let tiles_key = (dims.key_len as u32).div_ceil(BLOCK * KERNEL.workgroup_size);
    let tiles = u64::from(tiles_row) * u64::from(tiles_key) * (dims.batch * dims.key_heads) as u64;
    let slots = [q, k, mask_bits, operands.scores];
    let work = u64::from(TILE_OUTPUTS) * dims.head_dim as u64;
    for (tile_begin, tile_end) in tile_ranges(tiles, work) {
        let params = Params {
            visibility,
            query_len: dims.query_len as u32,
            query_begin: queries.begin as u32,
            queries: queries.count as u32,
            key_len: dims.key_len as u32,
            query_heads: dims.query_heads as u32,
            key_heads: dims.key_heads as u32,
            head_dim: dims.head_dim as u32,
            scale: operands.scale,
            tiles_row,
            tiles_key,
            tile_begin,
            tile_end,
        };
        let workgroups = u64::from(tile_end - tile_begin);
        pass.dispatch(
            &KERNEL,
            &constants(q_type, k_type),
            Parameters::of(&params, false),
            &slots,
            workgroups,
        )?;
    }
    Ok(())
}
