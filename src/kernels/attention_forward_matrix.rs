//! The forms of fused attention in matrix units: its kernel, sizes and constants.
//! [`attention_forward`](super::attention_forward) dispatches it.

use super::attention_forward::{BINDINGS, Params, operands};
use super::{BLOCKS, ELEMENTS, FUSED, GRID, HALVES, PHILOX, VISIBLE, WEIGH};
use crate::DType;
use crate::gpu::{Constant, Kernel, Units, element_constant};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "attention_forward_matrix",
    sources: &[
        GRID,
        ELEMENTS,
        PHILOX,
        VISIBLE,
        WEIGH,
        BLOCKS,
        FUSED,
        HALVES,
        include_str!("../../shaders/attention_forward_matrix.wgsl"),
    ],
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params_size: size_of::<Params>(),
};

/// Parts of a workgroup, one for each subgroup, as in the WGSL.
const PARTS: u32 = 4;

/// What a workgroup computes: the rows of a part, and the keys of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rows {
    pub(crate) rows: u32,
    pub(crate) key_block: u32,
}

impl Rows {
    pub(crate) const fn tile_rows(&self) -> u32 {
        PARTS * self.rows
    }

    /// Matrices that hold a row of D.
    fn depth(head_dim: usize, units: Units) -> u32 {
        (head_dim as u32).div_ceil(units.size)
    }

    fn workgroup_bytes(&self, head_dim: usize, units: Units) -> u32 {
        let stage = self.key_block * (Self::depth(head_dim, units) * units.size + 8) * 2;
        let probs = self.tile_rows() * (self.key_block + 8) * 2;
        let scores = self.tile_rows() * (self.key_block + 4) * 4;
        stage + probs + scores + units.lanes() * 4 + self.tile_rows() * 4 + 8
    }

    /// Whether heads of this width run on such units of a device with these limits.
    pub(crate) fn fits(&self, head_dim: usize, units: Units, limits: &wgpu::Limits) -> bool {
        units.lanes() <= limits.max_compute_invocations_per_workgroup
            && self.workgroup_bytes(head_dim, units) <= limits.max_compute_workgroup_storage_size
            // Parts are whole matrices, and lanes share a row's vectors of four evenly.
            && self.rows.is_multiple_of(units.size)
            && units.lanes().is_multiple_of(self.tile_rows())
            && (self.key_block / 4).is_multiple_of(units.lanes() / self.tile_rows())
            // More would not stay in registers, and takes long to compile.
            && self.rows / units.size * Self::depth(head_dim, units) <= 32
    }

    /// Loop iterations of one invocation for a block without values that are NaN or infinite: the drivers that end long
    /// loops have no matrix units.
    pub(crate) fn iterations(&self, head_dim: usize, dropout: bool) -> u32 {
        // As if a lane had a row, and a matrix were 8 wide.
        let quads = (head_dim as u32).div_ceil(8) * 2;
        let loading = 2 * (self.key_block * quads).div_ceil(self.tile_rows());
        let softmax = self.key_block / 4 * if dropout { 12 } else { 2 } + 8;
        // In the end: matrices of keys, the bits of masks and of such values, and the block itself.
        loading + softmax + self.key_block / 4 + self.key_block / 16 + 1
    }
}

pub(crate) fn constants(
    rows: Rows,
    units: Units,
    [q, k, v]: [DType; 3],
    head_dim: usize,
    [dropout, weigh]: [bool; 2],
) -> Vec<(&'static str, Constant)> {
    vec![
        ("MATRIX", Constant::U32(units.size)),
        ("WORKGROUP_SIZE", Constant::U32(units.lanes())),
        ("PARTS_AT_ONCE", Constant::U32(units.parts)),
        ("ROWS", Constant::U32(rows.rows / units.size)),
        ("DEPTH", Constant::U32(Rows::depth(head_dim, units))),
        ("KEY_BLOCK", Constant::U32(rows.key_block)),
        ("ALIGNED", Constant::Bool(head_dim.is_multiple_of(4))),
        ("Q_TYPE", element_constant(q)),
        ("K_TYPE", element_constant(k)),
        ("V_TYPE", element_constant(v)),
        ("HEAD_DIM", Constant::U32(head_dim as u32)),
        ("DROPOUT", Constant::Bool(dropout)),
        ("WEIGH", Constant::Bool(weigh)),
    ]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    let mut all = Vec::new();
    let limits = wgpu::Limits { max_compute_workgroup_storage_size: 32 << 10, ..wgpu::Limits::default() };
    for (i, form) in super::attention_forward::MATRIX_FORMS.into_iter().enumerate() {
        for (j, head_dim) in [64, 1, 129, 128].into_iter().enumerate() {
            for units in super::UNITS {
                if !form.fits(head_dim, Some(units), &limits) {
                    continue;
                }
                let type_of = |on| if on { DType::F32 } else { DType::F16 };
                let on = |bit: usize| (i + j) >> bit & 1 == 1;
                let types = [type_of(on(0)), type_of(on(1)), DType::F16];
                let rows = form.matrix().unwrap();
                all.push(constants(rows, units, types, head_dim, [on(1), on(0)]));
            }
        }
    }
    all
}
