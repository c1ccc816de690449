//! Common to the layouts of the gradients: bindings, parameters, operands, roles, and the trait `Layout`.

use std::fmt::Debug;

use crate::gpu::{
    AdapterKind, Binding, BufferRange, Capabilities, Constant, Constants, Kernel, is_on, operand, result,
};
use crate::kernels::attention::problem::{Problem, ProblemParams};
use crate::kernels::params::params;
use crate::tuning::NamedForm;

pub(super) const BINDINGS: &[Binding] = &[
    Binding::Uniform("params"),
    Binding::Read("row_x"),
    Binding::Read("row_y"),
    Binding::Read("column_x"),
    Binding::Read("column_y"),
    Binding::Read("stats"),
    Binding::Read("mask_bits"),
    Binding::Write("result_x"),
    Binding::Write("result_y"),
];

params! {
    /// The parameters of a dispatch.
    pub(super) struct Params {
        pub(super) problem: ProblemParams,
        /// The first bound batch element, and its offset in the bound window of q, d_out and dq (`q_base`) and of k, v, dk and
        /// dv (`k_base`).
        pub(super) batch_begin: u32,
        pub(super) q_base: u32,
        pub(super) k_base: u32,
        pub(super) tiles_row: u32,
        /// Chunks of D.
        pub(super) chunks: u32,
        /// The tiles of this dispatch.
        pub(super) tile_begin: u32,
        pub(super) tile_end: u32,
        /// The columns of this dispatch: keys, or queries of each head of a group; whole blocks except at the end.
        pub(super) column_begin: u32,
        pub(super) column_end: u32,
    }
}

/// The operands of the gradients, all f32. If keys may be hidden or dropped, `zero_nonfinite` has been applied to q, k, v
/// and d_out.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    /// q and d_out `[B,T,H,D]`
    pub(crate) q: BufferRange<'a>,
    pub(crate) d_out: BufferRange<'a>,
    /// k and v `[B,S,Hkv,D]`
    pub(crate) k: BufferRange<'a>,
    pub(crate) v: BufferRange<'a>,
    /// The result of [`attention_delta`](super::delta::attention_delta).
    pub(crate) stats: BufferRange<'a>,
    /// Mask bits, laid out as the problem's visibility says.
    pub(crate) mask_bits: BufferRange<'a>,
    /// dq `[B,T,H,D]`
    pub(crate) dq: BufferRange<'a>,
    /// dk and dv `[B,S,Hkv,D]`
    pub(crate) dk: BufferRange<'a>,
    pub(crate) dv: BufferRange<'a>,
}

/// The rows of a tile: queries give dq, keys give dk and dv.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Queries,
    Keys,
}

impl Role {
    pub(crate) const ALL: [Role; 2] = [Role::Queries, Role::Keys];

    /// Multiply-adds per pair of row and column, in units of D.
    pub(super) const fn products(self) -> u64 {
        match self {
            Role::Queries => 3,
            Role::Keys => 4,
        }
    }

    /// Rows and columns per batch element and key/value head, and the number of heads that the columns repeat for.
    pub(super) fn extent(self, problem: &Problem) -> (usize, usize, usize) {
        let dims = &problem.dims;
        match self {
            Role::Queries => (problem.group_rows(), dims.key_len, 1),
            Role::Keys => (dims.key_len, dims.query_len, dims.group_size()),
        }
    }
}

/// WGSL declarations of the operands.
pub(super) fn operands(constants: &Constants) -> String {
    let aligned = is_on("ALIGNED", constants);
    let read = |name, at| operand(name, at, "F32", aligned, constants);
    [
        read("row_x", 1),
        read("row_y", 2),
        read("column_x", 3),
        read("column_y", 4),
        result("result_x", 7, aligned),
        result("result_y", 8, aligned),
    ]
    .concat()
}

/// A layout: how a tile of the gradients is divided over the lanes of a workgroup.
pub(super) trait Layout: Debug + Sync {
    fn kernel(&self) -> &'static Kernel;

    /// Rows per tile.
    fn tile_rows(&self) -> u32;

    /// Columns per block.
    fn block(&self) -> u32;

    /// Chunks of D, each with tiles of its own.
    fn chunks(&self, head_dim: usize) -> u32;

    /// Whether the layout is a candidate on adapters of this kind.
    fn is_candidate_on(&self, _: AdapterKind) -> bool {
        true
    }

    /// Whether heads of this width run on a device with these capabilities.
    fn fits(&self, role: Role, head_dim: usize, device: &Capabilities<'_>) -> bool;

    /// Loop iterations of one invocation per block.
    fn iterations(&self, role: Role, head_dim: usize, dropout: bool) -> u32;

    fn constants(&self, role: Role, head_dim: usize, dropout: bool) -> Vec<(&'static str, Constant)>;

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
}
