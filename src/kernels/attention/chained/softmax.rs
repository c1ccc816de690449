//! `probs = softmax(scores)` in place, and lse.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::dispatch::LOOP_LIMIT;
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::shapes::{Dims, Queries};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "softmax",
    source: source!("attention/chained/softmax"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("scores"), Binding::Write("lse")],
    workgroup_size: 32,
    params: params::wgsl::<Params>,
};

/// The most keys of a row, by the loop limit: lanes pass three times over the keys and twice over each other's results.
pub(crate) const MAX_KEYS: usize = (LOOP_LIMIT - 64) / 3 * 32;

params! {
    /// The parameters of a dispatch.
    struct Params {
        /// B · H · queries
        rows: u32,
        key_len: u32,
        query_len: u32,
        query_begin: u32,
        queries: u32,
    }
}

/// Records scores → probs `[B,H,queries,S]` in place, and lse `[B,H,T]`, both f32.
pub(crate) fn softmax(
    pass: &mut Pass<'_>,
    dims: &Dims,
    queries: Queries,
    scores: BufferRange<'_>,
    lse: BufferRange<'_>,
) -> Result<()> {
    let rows = dims.batch * dims.query_heads * queries.count;
    let params = Params {
        rows: rows as u32,
        key_len: dims.key_len as u32,
        query_len: dims.query_len as u32,
        query_begin: queries.begin as u32,
        queries: queries.count as u32,
    };
    pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &[scores, lse], rows as u64)
}
