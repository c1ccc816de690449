//! Multiply-adds in registers and nothing else: the most of them that an adapter can do in a second.

use bytemuck::{Pod, Zeroable};

use super::{GRID, LOOP_LIMIT};
use crate::Result;
use crate::gpu::{Binding, Constant, Kernel, Parameters, Pass, Slot};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "peak",
    sources: &[GRID, include_str!("../../shaders/peak.wgsl")],
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("y")],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    iterations: u32,
    length: u32,
    scale: f32,
    offset: f32,
}

/// Vectors of four numbers that an invocation works on at a time. Few registers suit CPU adapters, more of them hide the
/// latency of GPUs. How many lanes a workgroup has makes no difference on the adapters that this was tried on.
pub(crate) const ACCUMULATORS: [u32; 3] = [2, 4, 8];

/// The most iterations of a dispatch.
pub(crate) const MAX_ITERATIONS: u32 = LOOP_LIMIT as u32 - 1;

fn constants(accumulators: u32) -> [(&'static str, Constant); 1] {
    [("ACCUMULATORS", Constant::U32(accumulators))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    ACCUMULATORS.iter().map(|&accumulators| constants(accumulators).to_vec()).collect()
}

/// Multiply-adds of one invocation.
pub(crate) fn multiply_adds(accumulators: u32, iterations: u32) -> u64 {
    u64::from(iterations) * 4 * 4 * u64::from(accumulators)
}

/// Records `iterations` iterations of a = a · scale + offset by each of `length` invocations; y `[length]` f32.
pub(crate) fn peak(
    pass: &mut Pass<'_>,
    [accumulators, iterations]: [u32; 2],
    [scale, offset]: [f32; 2],
    y: Slot<'_>,
    length: usize,
) -> Result<()> {
    let params = Params { iterations: iterations.min(MAX_ITERATIONS), length: length as u32, scale, offset };
    let workgroups = length.div_ceil(KERNEL.workgroup_size as usize) as u64;
    pass.dispatch(&KERNEL, &constants(accumulators), Parameters::of(&params, false), &[y], workgroups)
}
