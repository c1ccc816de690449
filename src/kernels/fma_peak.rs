//! Multiply-adds in registers and nothing else: measures an adapter's peak rate.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Constant, Kernel, Parameters, Pass};
use crate::kernels::dispatch::LOOP_LIMIT;
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "fma_peak",
    source: source!("fma_peak"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("y")],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        iterations: u32,
        /// Elements of y.
        length: u32,
        scale: f32,
        offset: f32,
    }
}

/// Vectors of four numbers per invocation. Few registers suit CPU adapters; more hide the latency of GPUs. The workgroup size
/// made no difference on the adapters that this was tried on.
pub(crate) const ACCUMULATORS: [u32; 3] = [2, 4, 8];

/// The most iterations per dispatch.
pub(crate) const MAX_ITERATIONS: u32 = LOOP_LIMIT as u32 - 1;

fn constants(accumulators: u32) -> [(&'static str, Constant); 1] {
    [("ACCUMULATORS", Constant::U32(accumulators))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    ACCUMULATORS.iter().map(|&accumulators| constants(accumulators).to_vec()).collect()
}

/// Multiply-adds per invocation.
pub(crate) fn multiply_adds(accumulators: u32, iterations: u32) -> u64 {
    u64::from(iterations) * 4 * 4 * u64::from(accumulators)
}

/// Records `iterations` iterations of a = a · scale + offset by each of `length` invocations; y `[length]` f32.
pub(crate) fn fma_peak(
    pass: &mut Pass<'_>,
    [accumulators, iterations]: [u32; 2],
    [scale, offset]: [f32; 2],
    y: BufferRange<'_>,
    length: usize,
) -> Result<()> {
    let params = Params { iterations: iterations.min(MAX_ITERATIONS), length: length as u32, scale, offset };
    let workgroups = length.div_ceil(KERNEL.workgroup_size as usize) as u64;
    pass.dispatch(&KERNEL, &constants(accumulators), Parameters::of(&params, false), &[y], workgroups)
}
