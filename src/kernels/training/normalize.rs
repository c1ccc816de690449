//! `n = x / max(norm, ε)` for each row or each column of a matrix.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Kernel, Parameters, Pass};
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "normalize",
    source: source!("training/normalize"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("x"),
        Binding::Read("squares"),
        Binding::Write("n"),
    ],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    pub(super) struct Params {
        /// vectors · length
        count: u32,
        length: u32,
        /// Strides in x from vector to vector and from element to element.
        vector_stride: u32,
        element_stride: u32,
    }
}

/// The rows or the columns of a matrix, as vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vectors {
    /// The number of vectors.
    pub(crate) count: usize,
    /// Elements per vector.
    pub(crate) length: usize,
    /// Whether they are columns.
    pub(crate) columns: bool,
}

impl Vectors {
    /// The rows, or the columns, of a matrix.
    pub(crate) fn of([rows, columns]: [usize; 2], are_columns: bool) -> Self {
        let (count, length) = if are_columns { (columns, rows) } else { (rows, columns) };
        Self { count, length, columns: are_columns }
    }

    /// The matrix as outer, length and inner axis, such that vectors run along the middle.
    pub(crate) fn axes(&self) -> [usize; 3] {
        if self.columns { [1, self.length, self.count] } else { [self.count, self.length, 1] }
    }

    pub(super) fn params(&self) -> Params {
        let (count, length) = (self.count as u32, self.length as u32);
        let (vector_stride, element_stride) = if self.columns { (1, count) } else { (length, 1) };
        Params { count: count * length, length, vector_stride, element_stride }
    }

    pub(super) fn workgroups(&self, size: u32) -> u64 {
        (self.count * self.length).div_ceil(size as usize) as u64
    }
}

/// Records x, squares `[vectors]` → n `[vectors,length]`, all f32. squares are the squared norms of the vectors.
pub(crate) fn normalize(
    pass: &mut Pass<'_>,
    vectors: &Vectors,
    x: BufferRange<'_>,
    squares: BufferRange<'_>,
    n: BufferRange<'_>,
) -> Result<()> {
    let workgroups = vectors.workgroups(KERNEL.workgroup_size);
    let params = vectors.params();
    pass.dispatch(&KERNEL, &[], Parameters::of(&params, false), &[x, squares, n], workgroups)
}
