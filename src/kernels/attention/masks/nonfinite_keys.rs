//! Finds the keys with non-finite values, one bit each.

use super::pack_mask::words_per_row;
use crate::gpu::{
    Binding, BufferRange, Constant, Constants, Kernel, Operand, Parameters, Pass, element_constant, is_on,
    operand,
};
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::shapes::Dims;
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "nonfinite_keys",
    source: source!("attention/masks/nonfinite_keys"),
    generate: Some(operands),
    bindings: &[Binding::Uniform("params"), Binding::Read("v"), Binding::Write("bits")],
    workgroup_size: 32,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        keys: u32,
        key_heads: u32,
        head_dim: u32,
        /// The offset of the first row in v.
        v_base: u32,
        /// The first word in `bits`, and words to the next key/value head.
        start: u32,
        words_per_head: u32,
        words: u32,
    }
}

fn constants(v: DType, aligned: bool) -> [(&'static str, Constant); 2] {
    [("V_TYPE", element_constant(v)), ("ALIGNED", Constant::Bool(aligned))]
}

fn operands(constants: &Constants) -> String {
    operand("v", 1, "V_TYPE", is_on("ALIGNED", constants), constants)
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    let both = |&v: &DType| [true, false].map(|aligned| constants(v, aligned).to_vec());
    crate::kernels::FLOATS.iter().flat_map(both).collect()
}

/// Words of bits for all keys: `[B,Hkv,⌈S/32⌉]`.
pub(crate) fn words(dims: &Dims) -> usize {
    dims.batch * dims.key_heads * words_per_row(dims.key_len)
}

/// Records v `[B,S,Hkv,D]` → bits `[B,Hkv,S]`, from word `start` of `bits` on.
pub(crate) fn nonfinite_keys<'a>(
    pass: &mut Pass<'_>,
    dims: &Dims,
    v: Operand<'a>,
    bits: BufferRange<'a>,
    start: usize,
) -> Result<()> {
    let constants = constants(v.dtype, dims.head_dim.is_multiple_of(4));
    let batch_bytes = (dims.key_len * dims.key_heads * dims.head_dim * v.dtype.size()) as u64;
    let words_per_head = words_per_row(dims.key_len);
    let limits = pass.gpu().binding_limits();
    for (batch_begin, batches) in limits.ranges(dims.batch, &[batch_bytes]) {
        let (window, shift) =
            limits.window(v.range, batch_begin as u64 * batch_bytes, batches as u64 * batch_bytes);
        let words = batches * dims.key_heads * words_per_head;
        let params = Params {
            keys: dims.key_len as u32,
            key_heads: dims.key_heads as u32,
            head_dim: dims.head_dim as u32,
            v_base: (shift / v.dtype.size() as u64) as u32,
            start: (start + batch_begin * dims.key_heads * words_per_head) as u32,
            words_per_head: words_per_head as u32,
            words: words as u32,
        };
        pass.dispatch(&KERNEL, &constants, Parameters::of(&params, false), &[window, bits], words as u64)?;
    }
    Ok(())
}
