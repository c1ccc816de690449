//! Common to the layouts of fused attention: bindings, parameters, operands, and the trait `Layout`.

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

/// The widest heads that the fused kernel supports.
pub(crate) const MAX_HEAD_DIM: usize = 256;

params! {
    /// The parameters of a dispatch.
    pub(super) struct Params {
        pub(super) problem: ProblemParams,
        /// The bound window of q and out: the first batch element, the first query, and the queries per batch element.
        pub(super) batch_begin: u32,
        pub(super) query_begin: u32,
        pub(super) queries: u32,
        /// The bound window of k and v: the first key, and the keys per batch element.
        pub(super) key_base: u32,
        pub(super) keys: u32,
        /// The offset of the first row in each bound window.
        pub(super) q_base: u32,
        pub(super) out_base: u32,
        pub(super) k_base: u32,
        pub(super) v_base: u32,
        pub(super) tiles_row: u32,
        /// The tiles of this dispatch.
        pub(super) tile_begin: u32,
        pub(super) tile_end: u32,
        /// The keys of this dispatch (whole blocks except at the end), and the keys per split.
        pub(super) key_begin: u32,
        pub(super) key_end: u32,
        pub(super) splits: u32,
        pub(super) keys_per_split: u32,
        /// Elements from one split to the next.
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
    /// Mask bits, laid out as the problem's visibility says.
    pub(crate) mask_bits: BufferRange<'a>,
    /// out `[B,T,H,D]` f32
    pub(crate) out: BufferRange<'a>,
    /// lse `[B,H,T]` f32
    pub(crate) lse: BufferRange<'a>,
}

/// The constants that distinguish the variants of a layout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    /// The types of q, k and v.
    pub(super) types: [DType; 3],
    pub(super) head_dim: usize,
    pub(super) dropout: bool,
    /// Whether a probability of 0 must exclude a non-finite value.
    pub(super) guard_nonfinite: bool,
    /// Whether each split writes its own sum and state.
    pub(super) partial: bool,
}

impl Variant {
    /// The constants common to all layouts.
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

/// WGSL declarations of the operands.
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

/// A layout: how a tile of fused attention is divided over the lanes of a workgroup.
pub(super) trait Layout: Debug + Sync {
    fn kernel(&self) -> &'static Kernel;

    /// Rows per tile: pairs (t, g).
    fn tile_rows(&self) -> u32;

    /// Keys per block.
    fn key_block(&self) -> u32;

    /// Keys are split until there are at least this many workgroups; 0: keys are not split.
    fn workgroups(&self) -> u32 {
        0
    }

    fn uses_matrices(&self) -> bool {
        false
    }

    /// Whether the layout is a candidate on adapters of this kind.
    fn is_candidate_on(&self, _: AdapterKind) -> bool {
        true
    }

    /// Whether heads of this width run on a device with these capabilities.
    fn fits(&self, head_dim: usize, device: &Capabilities<'_>) -> bool;

    /// Loop iterations of one invocation per block.
    fn iterations(&self, head_dim: usize, dropout: bool) -> u32;

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
