//! `y = x`, from one element type to another.

use crate::gpu::{
    Binding, BufferRange, Kernel, Operand, Parameters, Pass, Tensor, Workspace, element_constant,
};
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "cast",
    source: source!("elementwise/cast"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Read("x"), Binding::Write("y")],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

/// Words of y per lane, as in the WGSL.
const PER_LANE: u32 = 16;

params! {
    /// The parameters of a dispatch.
    struct Params {
        /// Elements, and words of y.
        count: u32,
        words: u32,
    }
}

fn constants(from: DType, to: DType) -> [(&'static str, crate::gpu::Constant); 2] {
    [("X_TYPE", element_constant(from)), ("Y_TYPE", element_constant(to))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    crate::kernels::FLOATS
        .iter()
        .flat_map(|&x| crate::kernels::FLOATS.iter().map(move |&y| constants(x, y).to_vec()))
        .collect()
}

/// Records x → y, `count` elements each.
pub(crate) fn cast(pass: &mut Pass<'_>, x: Operand<'_>, y: Operand<'_>, count: usize) -> Result<()> {
    let (from, to) = (x.dtype, y.dtype);
    let limits = pass.gpu().binding_limits();
    let sizes = [from.size() as u64, to.size() as u64];
    // Windows begin at aligned offsets, in either type.
    for (first, count) in limits.ranges_of(limits.alignment as usize, count, &sizes) {
        let [(x, _), (y, _)] = [(x.range, sizes[0]), (y.range, sizes[1])]
            .map(|(range, size)| limits.window(range, first as u64 * size, count as u64 * size));
        let words = to.words(count);
        let params = Params { count: count as u32, words: words as u32 };
        let workgroups = words.div_ceil(u64::from(KERNEL.workgroup_size * PER_LANE));
        pass.dispatch(&KERNEL, &constants(from, to), Parameters::of(&params, false), &[x, y], workgroups)?;
    }
    Ok(())
}

/// A tensor converted to a type: the tensor itself if it has that type, else a copy.
pub(crate) enum Converted {
    AsGiven(Tensor),
    Copy(Workspace),
}

impl Converted {
    /// Records the copy, if one is needed.
    pub(crate) fn new(pass: &mut Pass<'_>, tensor: &Tensor, dtype: DType) -> Result<Self> {
        if tensor.dtype() == dtype {
            return Ok(Self::AsGiven(tensor.clone()));
        }
        Self::copy(pass, tensor, dtype)
    }

    /// Records a copy, even if the tensor has the type already.
    pub(crate) fn copy(pass: &mut Pass<'_>, tensor: &Tensor, dtype: DType) -> Result<Self> {
        let count = tensor.shape().iter().product();
        let copy = pass.workspace("copy", dtype.words(count));
        cast(pass, tensor.operand(), Operand { range: copy.range(), dtype }, count)?;
        Ok(Self::Copy(copy))
    }

    pub(crate) fn range(&self) -> BufferRange<'_> {
        match self {
            Self::AsGiven(tensor) => tensor.range(),
            Self::Copy(copy) => copy.range(),
        }
    }
}
