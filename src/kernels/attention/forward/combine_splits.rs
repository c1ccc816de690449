//! Combines the partial results of keys that were split over workgroups.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::attention::problem::Problem;
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "combine_splits",
    source: source!("attention/forward/combine_splits"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("parts"),
        Binding::Read("state"),
        Binding::Write("out"),
        Binding::Write("lse"),
    ],
    workgroup_size: 32,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        query_len: u32,
        query_heads: u32,
        head_dim: u32,
        rows: u32,
        splits: u32,
        keep_scale: f32,
    }
}

/// Records parts `[splits,B,T,H,D]`, state `[splits,B,H,T,2]` → out `[B,T,H,D]`, lse `[B,H,T]`, all f32.
pub(crate) fn combine_splits(
    pass: &mut Pass<'_>,
    problem: &Problem,
    splits: u32,
    [parts, state, out, lse]: [BufferRange<'_>; 4],
) -> Result<()> {
    let dims = &problem.dims;
    let rows = dims.batch * dims.query_heads * dims.query_len;
    let params = Params {
        query_len: dims.query_len as u32,
        query_heads: dims.query_heads as u32,
        head_dim: dims.head_dim as u32,
        rows: rows as u32,
        splits,
        keep_scale: problem.dropout.unwrap_or_default().keep_scale() as f32,
    };
    pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &[parts, state, out, lse], rows as u64)
}
