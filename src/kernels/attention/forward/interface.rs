//! What the layouts of fused attention share: bindings, parameters, operands, and what a layout is.

use std::fmt::Debug;

use crate::DType;
use crate::gpu::{
    AdapterKind, Binding, BufferRange, Capabilities, Constant, Constants, Kernel, MatrixConfig, Operand,
    element_constant, is_on, operand, result,
};
use crate::kernels::attention::problem::ProblemParams;
use crate::kernels::params::params;
use crate::tuning::NamedForm;

pub(super) const BINDINGS: &[Binding] = &[
    Binding::Uniform("params"),
    Binding::Read("q"),
    Binding::Read("k"),
    Binding::Read("v"),
    Binding::Read("mask_bits"),
    Binding::Write("out"),
    Binding::Write("lse"),
    Binding::Write("state"),
];

/// The widest heads that it takes.
pub(crate) const MAX_HEAD_DIM: usize = 256;

params! {
    /// The parameters of a dispatch.
    pub(super) struct Params {
        pub(super) problem: ProblemParams,
        /// What q and out are bound of: so many queries from this one on, of each batch element from this one on.
        pub(super) batch_begin: u32,
        pub(super) query_begin: u32,
        pub(super) queries: u32,
        /// What k and v are bound of.
        pub(super) key_base: u32,
        pub(super) keys: u32,
        /// Where the first row begins in each.
        pub(super) q_base: u32,
        pub(super) out_base: u32,
        pub(super) k_base: u32,
        pub(super) v_base: u32,
        pub(super) tiles_row: u32,
        /// The tiles of this dispatch.
        pub(super) tile_begin: u32,
        pub(super) tile_end: u32,
        /// The keys of this dispatch, whole blocks but for the end, and of each workgroup.
        pub(super) key_begin: u32,
        pub(super) key_end: u32,
        pub(super) splits: u32,
        pub(super) keys_per_split: u32,
        /// From one split to the next, in elements.
        pub(super) out_stride: u32,
        pub(super) state_stride: u32,
    }
}

/// The operands of fused attention.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    /// q `[B,T,H,D]`
    pub(crate) q: Operand<'a>,
    /// k `[B,S,Hkv,D]`
    pub(crate) k: Operand<'a>,
    /// v `[B,S,Hkv,D]`
    pub(crate) v: Operand<'a>,
    /// The bits that the problem's visibility tells of.
    pub(crate) mask_bits: BufferRange<'a>,
    /// out `[B,T,H,D]` f32
    pub(crate) out: BufferRange<'a>,
    /// lse `[B,H,T]` f32
    pub(crate) lse: BufferRange<'a>,
}

/// What tells one variant of a layout from another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    /// Of q, k and v.
    pub(super) types: [DType; 3],
    pub(super) head_dim: usize,
    pub(super) dropout: bool,
    /// Whether a probability of 0 must take nothing of a value that is not finite.
    pub(super) guard_nonfinite: bool,
    /// Whether each split leaves its own sum and state.
    pub(super) partial: bool,
}

impl Variant {
    /// The constants that every layout has.
    pub(super) fn constants(&self) -> [(&'static str, Constant); 7] {
        let [q, k, v] = self.types;
        [
            ("ALIGNED", Constant::Bool(self.head_dim.is_multiple_of(4))),
            ("Q_TYPE", element_constant(q)),
            ("K_TYPE", element_constant(k)),
            ("V_TYPE", element_constant(v)),
            ("HEAD_DIM", Constant::U32(self.head_dim as u32)),
            ("DROPOUT", Constant::Bool(self.dropout)),
            ("GUARD_NONFINITE", Constant::Bool(self.guard_nonfinite)),
        ]
    }
}

/// WGSL of the operands.
pub(super) fn operands(constants: &Constants) -> String {
    let aligned = is_on("ALIGNED", constants);
    [
        operand("q", 1, "Q_TYPE", aligned, constants),
        operand("k", 2, "K_TYPE", aligned, constants),
        operand("v", 3, "V_TYPE", aligned, constants),
        result("out", 5, aligned),
    ]
    .concat()
}

/// How a kernel of fused attention is laid out over the lanes of a workgroup.
pub(super) trait Layout: Debug + Sync {
    fn kernel(&self) -> &'static Kernel;

    /// Rows of a tile: pairs (t, g).
    fn tile_rows(&self) -> u32;

    /// Keys of a block.
    fn key_block(&self) -> u32;

    /// Workgroups that there should be at the least, by splitting keys; 0: keys are not split.
    fn workgroups(&self) -> u32 {
        0
    }

    fn uses_matrices(&self) -> bool {
        false
    }

    /// Whether adapters of this kind measure it.
    fn is_candidate_on(&self, _: AdapterKind) -> bool {
        true
    }

    /// Whether heads of this width run on such a device.
    fn fits(&self, head_dim: usize, device: &Capabilities<'_>) -> bool;

    /// Loop iterations of one invocation for a block.
    fn iterations(&self, head_dim: usize, dropout: bool) -> u32;

    fn constants(&self, variant: &Variant, matrix: Option<MatrixConfig>) -> Vec<(&'static str, Constant)>;

    /// What a form of this layout and these sizes is called.
    #[cfg(test)]
    fn name(&self) -> String;
}

/// A layout with its sizes, by name.
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
