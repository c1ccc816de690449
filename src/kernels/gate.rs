//! `gate = sigmoid(gate)` in place, and `gated = gate ∘ out`.

use bytemuck::{Pod, Zeroable};

use super::{GRID, element_windows};
use crate::Result;
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "gate",
    sources: &[GRID, include_str!("../../shaders/gate.wgsl")],
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Write("gate"),
        Binding::Read("out"),
        Binding::Write("gated"),
    ],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    count: u32,
}

/// Records it for `count` f32 of gate (before its sigmoid), out and gated.
pub(crate) fn gate(pass: &mut Pass<'_>, slots: [Slot<'_>; 3], count: usize) -> Result<()> {
    for (_, count, slots) in element_windows(pass.gpu(), count, slots) {
        let params = Params { count: count as u32 };
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &slots, workgroups)?;
    }
    Ok(())
}
