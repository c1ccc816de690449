//! The partial results of keys that were split over workgroups, merged.

use bytemuck::{Pod, Zeroable};

use super::GRID;
use crate::Result;
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot};
use crate::shapes::Dims;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "merge_splits",
    sources: &[GRID, include_str!("../../shaders/merge_splits.wgsl")],
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("parts"),
        Binding::Read("state"),
        Binding::Write("out"),
        Binding::Write("lse"),
    ],
    workgroup_size: 32,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    query_len: u32,
    query_heads: u32,
    head_dim: u32,
    rows: u32,
    splits: u32,
    keep_scale: f32,
    padding: [u32; 2],
}

/// Records parts `[splits,B,T,H,D]`, state `[splits,B,H,T,2]` → out `[B,T,H,D]`, lse `[B,H,T]`, all f32.
pub(crate) fn merge_splits(
    pass: &mut Pass<'_>,
    dims: &Dims,
    splits: u32,
    keep_scale: f32,
    [parts, state, out, lse]: [Slot<'_>; 4],
) -> Result<()> {
    let rows = dims.batch * dims.query_heads * dims.query_len;
    let params = Params {
        query_len: dims.query_len as u32,
        query_heads: dims.query_heads as u32,
        head_dim: dims.head_dim as u32,
        rows: rows as u32,
        splits,
        keep_scale,
        padding: [0; 2],
    };
    pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &[parts, state, out, lse], rows as u64)
}
