//! Statistics per query for the gradients of attention: lse in powers of two, and delta.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Constant, Constants, Kernel, Parameters, Pass, is_on, operand};
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::shapes::Dims;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "attention_delta",
    source: source!("attention/backward/delta"),
    generate: Some(operands),
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("d_out"),
        Binding::Read("out"),
        Binding::Read("lse"),
        Binding::Write("stats"),
    ],
    workgroup_size: 32,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        /// Bound rows (batch elements · T · H), and the offset of the first.
        rows: u32,
        base: u32,
        /// The batch element of the first row.
        batch_begin: u32,
        query_len: u32,
        query_heads: u32,
    }
}

fn constants(head_dim: usize) -> [(&'static str, Constant); 2] {
    [("HEAD_DIM", Constant::U32(head_dim as u32)), ("ALIGNED", Constant::Bool(head_dim.is_multiple_of(4)))]
}

fn operands(constants: &Constants) -> String {
    let aligned = is_on("ALIGNED", constants);
    ["d_out", "out"].iter().zip(1..).map(|(name, at)| operand(name, at, "F32", aligned, constants)).collect()
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    [1, 64, 129].map(|head_dim| constants(head_dim).to_vec()).to_vec()
}

/// Records d_out and out `[B,T,H,D]`, lse `[B,H,T]`, all f32 → stats, pairs `[B,H,T]`.
pub(crate) fn attention_delta<'a>(
    pass: &mut Pass<'_>,
    dims: &Dims,
    [d_out, out, lse, stats]: [BufferRange<'a>; 4],
) -> Result<()> {
    let rows = dims.query_len * dims.query_heads;
    let batch_bytes = (rows * dims.head_dim * 4) as u64;
    let limits = pass.gpu().binding_limits();
    for (batch_begin, batches) in limits.ranges(dims.batch, &[batch_bytes]) {
        let window = |range: BufferRange<'a>| {
            limits.window(range, batch_begin as u64 * batch_bytes, batches as u64 * batch_bytes)
        };
        let (d_out, shift) = window(d_out);
        let (out, _) = window(out);
        let params = Params {
            rows: (batches * rows) as u32,
            base: (shift / 4) as u32,
            batch_begin: batch_begin as u32,
            query_len: dims.query_len as u32,
            query_heads: dims.query_heads as u32,
        };
        let workgroups = u64::from(params.rows).div_ceil(u64::from(KERNEL.workgroup_size));
        let ranges = [d_out, out, lse, stats];
        pass.dispatch(
            &KERNEL,
            &constants(dims.head_dim),
            Parameters::of(&params, false),
            &ranges,
            workgroups,
        )?;
    }
    Ok(())
}
