//! `y = x`, from one element type to another.

use bytemuck::{Pod, Zeroable};

use super::{ELEMENTS, GRID, ROUNDING};
use crate::gpu::{Binding, Kernel, Parameters, Pass, Slot, Tensor, Workspace, element_constant};
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "cast",
    sources: &[GRID, ELEMENTS, ROUNDING, include_str!("../../shaders/cast.wgsl")],
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Read("x"), Binding::Write("y")],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

/// Words of y that a lane takes, as in the WGSL.
const PER_LANE: u32 = 16;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    count: u32,
    words: u32,
}

fn constants(from: DType, to: DType) -> [(&'static str, crate::gpu::Constant); 2] {
    [("X_TYPE", element_constant(from)), ("Y_TYPE", element_constant(to))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    super::FLOATS.iter().flat_map(|&x| super::FLOATS.iter().map(move |&y| constants(x, y).to_vec())).collect()
}

/// Records x → y, `count` elements each.
pub(crate) fn cast(
    pass: &mut Pass<'_>,
    (x, from): (Slot<'_>, DType),
    (y, to): (Slot<'_>, DType),
    count: usize,
) -> Result<()> {
    let limits = pass.gpu().binding_limits();
    let sizes = [from.size() as u64, to.size() as u64];
    // Windows begin where bindings can, whatever the type.
    for (first, count) in limits.ranges_of(limits.alignment as usize, count, &sizes) {
        let [(x, _), (y, _)] = [(x, sizes[0]), (y, sizes[1])]
            .map(|(slot, size)| limits.window(slot, first as u64 * size, count as u64 * size));
        let words = to.words(count);
        let params = Params { count: count as u32, words: words as u32 };
        let workgroups = words.div_ceil(u64::from(KERNEL.workgroup_size * PER_LANE));
        pass.dispatch(&KERNEL, &constants(from, to), Parameters::of(&params, false), &[x, y], workgroups)?;
    }
    Ok(())
}

/// A tensor in some type: as it is where that is its own, else a copy.
pub(crate) enum InType {
    AsGiven(Tensor),
    Copy(Workspace),
}

impl InType {
    /// Records the copy, if there is to be one.
    pub(crate) fn new(pass: &mut Pass<'_>, tensor: &Tensor, dtype: DType) -> Result<Self> {
        if tensor.dtype() == dtype {
            return Ok(Self::AsGiven(tensor.clone()));
        }
        Self::copy(pass, tensor, dtype)
    }

    /// Records a copy, whatever the tensor's own type.
    pub(crate) fn copy(pass: &mut Pass<'_>, tensor: &Tensor, dtype: DType) -> Result<Self> {
        let count = tensor.shape().iter().product();
        let copy = pass.workspace("copy", dtype.words(count));
        cast(pass, (tensor.slot(), tensor.dtype()), (copy.slot(), dtype), count)?;
        Ok(Self::Copy(copy))
    }

    pub(crate) fn slot(&self) -> Slot<'_> {
        match self {
            Self::AsGiven(tensor) => tensor.slot(),
            Self::Copy(copy) => copy.slot(),
        }
    }
}
