//! `gate = sigmoid(gate)` in place, and `gated = gate ∘ out`.

use bytemuck::{Pod, Zeroable};

use super::GRID;
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
    let limits = pass.gpu().binding_limits();
    // Whole alignments, so that no window begins too early and nothing is done twice.
    for (first, count) in limits.ranges_of(limits.alignment as usize, count, &[4]) {
        let slots = slots.map(|slot| limits.window(slot, first as u64 * 4, count as u64 * 4).0);
        let params = Params { count: count as u32 };
        let workgroups = (count as u64).div_ceil(u64::from(KERNEL.workgroup_size));
        pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &slots, workgroups)?;
    }
    Ok(())
}
