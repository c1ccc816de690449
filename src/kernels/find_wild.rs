//! Which keys have values that are NaN or infinite, as bits.

use bytemuck::{Pod, Zeroable};

use super::{ELEMENTS, GRID, WEIGH, pack_mask::words_per_row};
use crate::gpu::{
    Binding, Constant, Constants, Kernel, Parameters, Pass, Slot, element_constant, is_on, operand,
};
use crate::shapes::Dims;
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "find_wild",
    sources: &[GRID, ELEMENTS, WEIGH, include_str!("../../shaders/find_wild.wgsl")],
    generate: Some(operands),
    bindings: &[Binding::Uniform("params"), Binding::Read("v"), Binding::Write("bits")],
    workgroup_size: 32,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    keys: u32,
    key_heads: u32,
    head_dim: u32,
    v_base: u32,
    start: u32,
    words_per_head: u32,
    words: u32,
    padding: u32,
}

fn constants(v: DType, aligned: bool) -> [(&'static str, Constant); 2] {
    [("V_TYPE", element_constant(v)), ("ALIGNED", Constant::Bool(aligned))]
}

fn operands(constants: &Constants) -> String {
    operand("v", 1, "V_TYPE", is_on("ALIGNED", constants), constants)
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    let both = |&v: &DType| [true, false].map(|aligned| constants(v, aligned).to_vec());
    super::FLOATS.iter().flat_map(both).collect()
}

/// Words of bits for all keys: `[B,Hkv,⌈S/32⌉]`.
pub(crate) fn words(dims: &Dims) -> usize {
    dims.batch * dims.key_heads * words_per_row(dims.key_len)
}

/// Records v `[B,S,Hkv,D]` → bits `[B,Hkv,S]`, from word `start` of `bits` on.
pub(crate) fn find_wild<'a>(
    pass: &mut Pass<'_>,
    dims: &Dims,
    (v, v_type): (Slot<'a>, DType),
    bits: Slot<'a>,
    start: usize,
) -> Result<()> {
    let constants = constants(v_type, dims.head_dim.is_multiple_of(4));
    let batch_bytes = (dims.key_len * dims.key_heads * dims.head_dim * v_type.size()) as u64;
    let words_per_head = words_per_row(dims.key_len);
    let limits = pass.gpu().binding_limits();
    for (batch_begin, batches) in limits.ranges(dims.batch, &[batch_bytes]) {
        let (v, shift) = limits.window(v, batch_begin as u64 * batch_bytes, batches as u64 * batch_bytes);
        let words = batches * dims.key_heads * words_per_head;
        let params = Params {
            keys: dims.key_len as u32,
            key_heads: dims.key_heads as u32,
            head_dim: dims.head_dim as u32,
            v_base: (shift / v_type.size() as u64) as u32,
            start: (start + batch_begin * dims.key_heads * words_per_head) as u32,
            words_per_head: words_per_head as u32,
            words: words as u32,
            padding: 0,
        };
        pass.dispatch(&KERNEL, &constants, Parameters::of(&params, false), &[v, bits], words as u64)?;
    }
    Ok(())
}
