//! Fused attention over lanes and registers.

use super::interface::{BINDINGS, Layout, Params, Variant, operands};
use crate::gpu::{Capabilities, Constant, Kernel, MatrixConfig};
use crate::kernels::params;
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "attention_forward",
    source: source!("attention/forward/lanes"),
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params: params::wgsl::<Params>,
};

/// The grid of lanes (rows × columns), each lane's share of a tile, and the splitting of keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes {
    row_lanes: u32,
    column_lanes: u32,
    rows: u32,
    /// Groups of four keys of a block that a lane owns.
    key_quads: u32,
    /// Whether k and v are staged in workgroup memory.
    staged: bool,
    /// Keys are split until there are at least this many workgroups; 0: keys are not split.
    workgroups: u32,
}

impl Lanes {
    /// The grid of lanes (rows, columns); rows and groups of four keys per lane.
    pub(super) const fn direct([row_lanes, column_lanes, rows, key_quads]: [u32; 4]) -> Self {
        Self { row_lanes, column_lanes, rows, key_quads, staged: false, workgroups: 0 }
    }

    pub(super) const fn staged(sizes: [u32; 4]) -> Self {
        Self { staged: true, ..Self::direct(sizes) }
    }

    pub(super) const fn split(sizes: [u32; 4], workgroups: u32) -> Self {
        Self { workgroups, ..Self::direct(sizes) }
    }

    fn count(&self) -> u32 {
        self.row_lanes * self.column_lanes
    }

    /// Vectors of four of D that a lane owns.
    fn quads(&self, head_dim: usize) -> u32 {
        (head_dim as u32).div_ceil(4).div_ceil(self.column_lanes)
    }

    fn workgroup_bytes(&self, head_dim: usize) -> u32 {
        let probs = self.tile_rows() * self.key_block() * 4;
        let stage = if self.staged { self.key_block() * ((head_dim as u32).div_ceil(4) + 1) * 16 } else { 0 };
        probs + stage + self.tile_rows() * (4 + self.key_block() / 8) + 16
    }
}

impl Layout for Lanes {
    fn kernel(&self) -> &'static Kernel {
        &KERNEL
    }

    fn tile_rows(&self) -> u32 {
        self.row_lanes * self.rows
    }

    fn key_block(&self) -> u32 {
        self.column_lanes * self.key_quads * 4
    }

    fn workgroups(&self) -> u32 {
        self.workgroups
    }

    fn fits(&self, head_dim: usize, device: &Capabilities<'_>) -> bool {
        self.count() <= device.limits.max_compute_invocations_per_workgroup
            && self.workgroup_bytes(head_dim) <= device.limits.max_compute_workgroup_storage_size
            // More would spill from registers, and takes long to compile.
            && self.rows * self.quads(head_dim) <= 48
    }

    fn iterations(&self, head_dim: usize, dropout: bool) -> u32 {
        let (block, quads) = (self.key_block(), (head_dim as u32).div_ceil(4));
        let loading = if self.staged { 2 * (block * quads).div_ceil(self.count()) } else { 0 };
        let softmax = (block / 4 + block / 32) * 2 + if dropout { block / 4 * 10 } else { 0 };
        // The last four terms: the bits of masks and of non-finite keys, p · v, and the block itself.
        quads + loading + softmax + block / 32 * 2 + self.tile_rows() + block + 1
    }

    fn constants(&self, variant: &Variant, _: Option<MatrixConfig>) -> Vec<(&'static str, Constant)> {
        let mut constants = vec![
            ("ROW_LANES", Constant::U32(self.row_lanes)),
            ("COLUMN_LANES", Constant::U32(self.column_lanes)),
            ("WORKGROUP_SIZE", Constant::U32(self.count())),
            ("ROWS", Constant::U32(self.rows)),
            ("OWN", Constant::U32(self.tile_rows().div_ceil(self.count()))),
            ("KEY_QUADS", Constant::U32(self.key_quads)),
            ("QUADS", Constant::U32(self.quads(variant.head_dim))),
            ("STAGED", Constant::Bool(self.staged)),
        ];
        constants.extend(variant.constants());
        constants.push(("PARTIAL", Constant::Bool(variant.partial)));
        constants
    }

    #[cfg(test)]
    fn name(&self) -> String {
        let Self { row_lanes, column_lanes, rows, key_quads, staged, workgroups } = *self;
        let memory = if staged { "staged" } else { "direct" };
        let name = format!("{memory} {row_lanes}x{column_lanes} lanes of {rows}x{}", 4 * key_quads);
        if workgroups > 0 { format!("{name}, keys split for {workgroups} workgroups") } else { name }
    }
}
