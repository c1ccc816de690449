//! `out = probs · v`.

use bytemuck::{Pod, Zeroable};

use super::{BLOCK, ELEMENTS, GRID, TILE_OUTPUTS, WEIGH, loop_ranges, tile_ranges};
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot, element_constant};
use crate::shapes::{Dims, Queries};
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "weighted_values",
    sources: &[GRID, ELEMENTS, WEIGH, include_str!("../../shaders/weighted_values.wgsl")],
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("probs"),
        Binding::Read("v"),
        Binding::Write("out"),
    ],
    workgroup_size: 8,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    query_len: u32,
    query_begin: u32,
    queries: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    head_dim: u32,
    key_begin: u32,
    key_end: u32,
    tiles_row: u32,
    tiles_d: u32,
    tile_begin: u32,
    tile_end: u32,
    padding: [u32; 3],
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    super::FLOATS.iter().map(|&v| vec![("V_TYPE", element_constant(v))]).collect()
}

/// Records probs `[B,H,queries,S]` f32, v `[B,S,Hkv,D]` → out `[B,T,H,D]` f32.
pub(crate) fn weighted_values(
    pass: &mut Pass<'_>,
    dims: &Dims,
    queries: Queries,
    probs: Slot<'_>,
    (v, v_type): (Slot<'_>, DType),
    out: Slot<'_>,
) -> Result<()> {
    let tiles_row = ((queries.count * dims.group_size()) as u32).div_ceil(BLOCK);
    let tiles_d = (dims.head_dim as u32).div_ceil(BLOCK * KERNEL.workgroup_size);
    let tiles = u64::from(tiles_row) * u64::from(tiles_d) * (dims.batch * dims.key_heads) as u64;
    let constants = [("V_TYPE", element_constant(v_type))];
    for (key_begin, key_end) in loop_ranges(dims.key_len) {
        let work = u64::from(TILE_OUTPUTS) * u64::from(key_end - key_begin);
        for (tile_begin, tile_end) in tile_ranges(tiles, work) {
            let params = Params {
                query_len: dims.query_len as u32,
                query_begin: queries.begin as u32,
                queries: queries.count as u32,
                key_len: dims.key_len as u32,
                query_heads: dims.query_heads as u32,
                key_heads: dims.key_heads as u32,
                head_dim: dims.head_dim as u32,
                key_begin,
                key_end,
                tiles_row,
                tiles_d,
                tile_begin,
                tile_end,
                padding: [0; 3],
            };
            let workgroups = u64::from(tile_end - tile_begin);
            pass.dispatch(&KERNEL, &constants, Parameters::of(&params, false), &[probs, v, out], workgroups)?;
        }
    }
    Ok(())
}
