//! `x = 0` where it is NaN or infinite, in place.

use bytemuck::{Pod, Zeroable};

use super::{GRID, element_windows};
use crate::Result;
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "tame",
    sources: &[GRID, include_str!("../../shaders/tame.wgsl")],
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Write("x")],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

/// Elements that a lane takes, as in the WGSL.
const PER_LANE: u32 = 16;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    count: u32,
}

/// Records it for the first `count` f32 of x.
pub(crate) fn tame(pass: &mut Pass<'_>, x: Slot<'_>, count: usize) -> Result<()> {
    for (_, count, slots) in element_windows(pass.gpu(), count, [x]) {
        let params = Params { count: count as u32 };
        let workgroups = u64::from(params.count).div_ceil(u64::from(KERNEL.workgroup_size * PER_LANE));
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &slots, workgroups)?;
    }
    Ok(())
}
