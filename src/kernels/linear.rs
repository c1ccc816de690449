//! `y = x · w + bias`, and with a gate `y = sigmoid(x · w + bias) ∘ multiplicand`.

use bytemuck::{Pod, Zeroable};

use super::{BLOCK, ELEMENTS, GRID, TILE_OUTPUTS, element_constant, loop_ranges, tile_ranges};
use crate::gpu::{Binding, Constant, Kernel, Pass, Slot};
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "linear",
    sources: &[GRID, ELEMENTS, include_str!("../../shaders/linear.wgsl")],
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("x"),
        Binding::Read("w"),
        Binding::Read("bias"),
        Binding::Read("multiplicand"),
        Binding::Write("y"),
    ],
    workgroup_size: 8,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    m: u32,
    k: u32,
    n: u32,
    k_begin: u32,
    k_end: u32,
    tiles_n: u32,
    tile_begin: u32,
    tile_end: u32,
}

/// The operands of one linear projection.
pub(crate) struct Linear<'a> {
    /// x `[M,K]`
    pub(crate) x: (Slot<'a>, DType),
    /// w `[K,N]`
    pub(crate) w: Slot<'a>,
    /// bias `[N]`
    pub(crate) bias: Option<Slot<'a>>,
    /// The type of w and bias.
    pub(crate) w_type: DType,
    /// multiplicand `[M,N]` f32: makes this a gate.
    pub(crate) gated: Option<Slot<'a>>,
    /// y `[M,N]` f32
    pub(crate) y: Slot<'a>,
    /// M, K, N
    pub(crate) sizes: [usize; 3],
}

fn constants(x: DType, w: DType, has_bias: bool, gate: bool) -> [(&'static str, Constant); 4] {
    [
        ("X_TYPE", element_constant(x)),
        ("W_TYPE", element_constant(w)),
        ("HAS_BIAS", Constant::Bool(has_bias)),
        ("GATE", Constant::Bool(gate)),
    ]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    let mut all = Vec::new();
    for x in super::FLOATS {
        for w in super::FLOATS {
            for (has_bias, gate) in [(false, false), (false, true), (true, false), (true, true)] {
                all.push(constants(x, w, has_bias, gate).to_vec());
            }
        }
    }
    all
}

/// Records the projection.
pub(crate) fn linear(pass: &mut Pass<'_>, operands: &Linear<'_>) -> Result<()> {
    let [m, k, n] = operands.sizes.map(|size| size as u32);
    let (tiles_m, tiles_n) = (m.div_ceil(BLOCK), n.div_ceil(BLOCK * KERNEL.workgroup_size));
    let tiles = u64::from(tiles_m) * u64::from(tiles_n);
    let constants =
        constants(operands.x.1, operands.w_type, operands.bias.is_some(), operands.gated.is_some());
    // A binding that a variant does not read still needs a buffer.
    let bias = operands.bias.unwrap_or(operands.w);
    let multiplicand = operands.gated.unwrap_or(operands.w);
    let slots = [operands.x.0, operands.w, bias, multiplicand, operands.y];
    for (k_begin, k_end) in loop_ranges(operands.sizes[1]) {
        let work = u64::from(TILE_OUTPUTS) * u64::from(k_end - k_begin);
        for (tile_begin, tile_end) in tile_ranges(tiles, work) {
            let params = Params { m, k, n, k_begin, k_end, tiles_n, tile_begin, tile_end };
            let workgroups = u64::from(tile_end - tile_begin);
            pass.dispatch(&KERNEL, &constants, bytemuck::bytes_of(&params), &slots, workgroups)?;
        }
    }
    Ok(())
}
