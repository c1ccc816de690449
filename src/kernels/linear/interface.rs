//! Common to the layouts of a projection: bindings, parameters, operands, and the trait `Layout`.

use std::fmt::Debug;

use crate::DType;
use crate::gpu::{
    AdapterKind, Binding, BufferRange, Capabilities, Constant, Constants, Kernel, MatrixConfig, Operand,
    element_constant, is_on, operand, result,
};
use crate::kernels::params::params;
use crate::tuning::NamedForm;

pub(super) const BINDINGS: &[Binding] = &[
    Binding::Uniform("params"),
    Binding::Read("x"),
    Binding::Read("w"),
    Binding::Read("bias"),
    Binding::Read("multiplicand"),
    Binding::Write("y"),
];

params! {
    /// The parameters of a dispatch.
    pub(super) struct Params {
        pub(super) m: u32,
        pub(super) k: u32,
        pub(super) n: u32,
        /// The range of k of this dispatch.
        pub(super) k_begin: u32,
        pub(super) k_end: u32,
        pub(super) tiles_n: u32,
        /// The tiles of this dispatch.
        pub(super) tile_begin: u32,
        pub(super) tile_end: u32,
        /// The offset of the first row in x, and in y and multiplicand.
        pub(super) x_base: u32,
        pub(super) y_base: u32,
        /// Nonzero: adds to y.
        pub(super) add: u32,
    }
}

/// The operands of a projection.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    /// x `[M,K]`
    pub(crate) x: Operand<'a>,
    /// w `[K,N]`
    pub(crate) w: Operand<'a>,
    /// bias `[N]`, of w's type
    pub(crate) bias: Option<BufferRange<'a>>,
    /// multiplicand `[M,N]` f32: makes the projection a gate.
    pub(crate) multiplicand: Option<BufferRange<'a>>,
    /// y `[M,N]` f32
    pub(crate) y: BufferRange<'a>,
    /// Whether to add to y. Not with a gate.
    pub(crate) add: bool,
}

/// The constants that distinguish the variants of a layout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    /// The types of x and w.
    pub(super) types: [DType; 2],
    /// Whether K and N are multiples of four.
    pub(super) aligned: bool,
    pub(super) bias: bool,
    pub(super) gate: bool,
}

impl Variant {
    /// The constants common to all layouts.
    pub(super) fn constants(&self) -> [(&'static str, Constant); 5] {
        let [x, w] = self.types;
        [
            ("ALIGNED", Constant::Bool(self.aligned)),
            ("X_TYPE", element_constant(x)),
            ("W_TYPE", element_constant(w)),
            ("HAS_BIAS", Constant::Bool(self.bias)),
            ("GATE", Constant::Bool(self.gate)),
        ]
    }
}

/// WGSL declarations of the operands.
pub(super) fn operands(constants: &Constants) -> String {
    let aligned = is_on("ALIGNED", constants);
    [
        operand("x", 1, "X_TYPE", aligned, constants),
        operand("w", 2, "W_TYPE", aligned, constants),
        operand("bias", 3, "W_TYPE", aligned, constants),
        operand("multiplicand", 4, "F32", aligned, constants),
        result("y", 5, aligned),
    ]
    .concat()
}

/// A layout: how a tile of a projection is divided over the lanes of a workgroup.
pub(super) trait Layout: Debug + Sync {
    fn kernel(&self) -> &'static Kernel;

    /// Rows and columns per tile.
    fn tile(&self) -> [u32; 2];

    fn uses_matrices(&self) -> bool {
        false
    }

    /// Whether the layout is a candidate on adapters of this kind.
    fn is_candidate_on(&self, _: AdapterKind) -> bool {
        true
    }

    /// Whether a device with these capabilities can run it.
    fn fits(&self, device: &Capabilities<'_>) -> bool;

    fn constants(&self, variant: &Variant, matrix: Option<MatrixConfig>) -> Vec<(&'static str, Constant)>;

    /// The name of a form with this layout and these sizes.
    #[cfg(test)]
    fn name(&self) -> String;
}

/// A layout with its sizes, identified by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(super) layout: &'static dyn Layout,
}

impl NamedForm for Form {
    fn name(&self) -> &'static str {
        self.name
    }

    fn uses_matrices(&self) -> bool {
        self.layout.uses_matrices()
    }
}
