//! Fused attention on cooperative matrices, which round q, k and v to f16.

use super::interface::{BINDINGS, Layout, Params, Variant, operands};
use crate::gpu::{Capabilities, Constant, Kernel, MatrixConfig};
use crate::kernels::params;
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "attention_forward_matrix",
    source: source!("attention/forward/matrix"),
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params: params::wgsl::<Params>,
};

/// Parts of a tile, one per subgroup, as in the WGSL.
const PARTS: u32 = 4;

/// The tile of a workgroup: matrices of rows per part, and keys per block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) rows: u32,
    pub(super) key_block: u32,
}

impl Rows {
    /// Matrices in a row of D.
    fn depth(head_dim: usize, matrix: MatrixConfig) -> u32 {
        (head_dim as u32).div_ceil(matrix.size)
    }

    fn workgroup_bytes(&self, head_dim: usize, matrix: MatrixConfig) -> u32 {
        let stage = self.key_block * (Self::depth(head_dim, matrix) * matrix.size + 8) * 2;
        let probs = self.tile_rows() * (self.key_block + 8) * 2;
        let scores = self.tile_rows() * (self.key_block + 4) * 4;
        stage + probs + scores + matrix.lanes() * 4 + self.tile_rows() * 4 + 8
    }
}

impl Layout for Rows {
    fn kernel(&self) -> &'static Kernel {
        &KERNEL
    }

    fn tile_rows(&self) -> u32 {
        PARTS * self.rows
    }

    fn key_block(&self) -> u32 {
        self.key_block
    }

    fn uses_matrices(&self) -> bool {
        true
    }

    fn fits(&self, head_dim: usize, device: &Capabilities<'_>) -> bool {
        let Some(matrix) = device.matrix else { return false };
        matrix.lanes() <= device.limits.max_compute_invocations_per_workgroup
            && self.workgroup_bytes(head_dim, matrix) <= device.limits.max_compute_workgroup_storage_size
            // Parts are whole matrices, and the lanes of a row share its vectors of four evenly.
            && self.rows.is_multiple_of(matrix.size)
            && matrix.lanes().is_multiple_of(self.tile_rows())
            && (self.key_block / 4).is_multiple_of(matrix.lanes() / self.tile_rows())
            // More would spill from registers, and takes long to compile.
            && self.rows / matrix.size * Self::depth(head_dim, matrix) <= 32
    }

    /// Counted for a block of finite values: drivers that end long loops have no cooperative matrices.
    fn iterations(&self, head_dim: usize, dropout: bool) -> u32 {
        // Upper bound: one lane per row, matrices of 8.
        let quads = (head_dim as u32).div_ceil(8) * 2;
        let loading = 2 * (self.key_block * quads).div_ceil(self.tile_rows());
        let softmax = self.key_block / 4 * if dropout { 12 } else { 2 } + 8;
        // The last terms: matrices of keys, the bits of masks and of non-finite keys, and the block itself.
        loading + softmax + self.key_block / 4 + self.key_block / 16 + 1
    }

    fn constants(&self, variant: &Variant, matrix: Option<MatrixConfig>) -> Vec<(&'static str, Constant)> {
        let Some(matrix) = matrix else { return Vec::new() };
        let mut constants = vec![
            ("MATRIX", Constant::U32(matrix.size)),
            ("WORKGROUP_SIZE", Constant::U32(matrix.lanes())),
            ("PARTS_AT_ONCE", Constant::U32(matrix.parts)),
            ("ROWS", Constant::U32(self.rows / matrix.size)),
            ("DEPTH", Constant::U32(Self::depth(variant.head_dim, matrix))),
            ("KEY_BLOCK", Constant::U32(self.key_block)),
        ];
        constants.extend(variant.constants());
        constants
    }

    #[cfg(test)]
    fn name(&self) -> String {
        format!("matrix 4 parts of {} rows by {} keys", self.rows, self.key_block)
    }
}
