//! The gradients of attention over lanes and registers.

use super::interface::{BINDINGS, Layout, Params, Role, operands};
use crate::gpu::{Capabilities, Constant, Kernel};
use crate::kernels::params;
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "attention_backward",
    source: source!("attention/backward/lanes"),
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params: params::wgsl::<Params>,
};

/// The grid of lanes (rows × columns), and each lane's share of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes {
    row_lanes: u32,
    column_lanes: u32,
    rows: u32,
    /// Groups of four columns.
    column_quads: u32,
    /// Whether the columns' operands are staged in workgroup memory.
    staged: bool,
}

impl Lanes {
    /// The grid of lanes (rows, columns); rows and groups of four columns per lane.
    pub(super) const fn direct([row_lanes, column_lanes, rows, column_quads]: [u32; 4]) -> Self {
        Self { row_lanes, column_lanes, rows, column_quads, staged: false }
    }

    pub(super) const fn staged(sizes: [u32; 4]) -> Self {
        Self { staged: true, ..Self::direct(sizes) }
    }

    fn count(&self) -> u32 {
        self.row_lanes * self.column_lanes
    }

    /// Vectors of four of D that a lane owns. More would spill from registers, and take long to compile.
    fn quads(&self, head_dim: usize) -> u32 {
        (head_dim as u32).div_ceil(4).div_ceil(self.column_lanes).min((48 / self.rows).max(1))
    }

    /// Words of visibility bits per block.
    fn words(&self, role: Role) -> u32 {
        match role {
            Role::Queries => self.tile_rows() * self.block() / 32,
            Role::Keys => self.block(),
        }
    }

    fn workgroup_bytes(&self, head_dim: usize, role: Role) -> u32 {
        let tiles = 2 * self.tile_rows() * self.block() * 4;
        let stage = if self.staged { self.block() * ((head_dim as u32).div_ceil(4) + 1) * 16 } else { 0 };
        tiles + stage + 2 * 4 * self.words(role) + 16
    }
}

impl Layout for Lanes {
    fn kernel(&self) -> &'static Kernel {
        &KERNEL
    }

    fn tile_rows(&self) -> u32 {
        self.row_lanes * self.rows
    }

    fn block(&self) -> u32 {
        self.column_lanes * self.column_quads * 4
    }

    fn chunks(&self, head_dim: usize) -> u32 {
        (head_dim as u32).div_ceil(4).div_ceil(self.column_lanes * self.quads(head_dim))
    }

    fn fits(&self, role: Role, head_dim: usize, device: &Capabilities<'_>) -> bool {
        self.count() <= device.limits.max_compute_invocations_per_workgroup
            && self.workgroup_bytes(head_dim, role) <= device.limits.max_compute_workgroup_storage_size
    }

    fn iterations(&self, role: Role, head_dim: usize, dropout: bool) -> u32 {
        let (block, quads) = (self.block(), (head_dim as u32).div_ceil(4));
        let loading = if self.staged { 4 * (block * quads).div_ceil(self.count()) } else { 0 };
        let words = self.words(role);
        let kept = if dropout { words.div_ceil(self.count()) * 8 * 11 } else { 0 };
        // The dot products, then the weighted sums.
        let elements = (self.tile_rows() * block / 4).div_ceil(self.count()) + block / 4;
        2 * quads + 2 * block / 4 + elements + loading + words + words.div_ceil(self.count()) + kept + 1
    }

    fn constants(&self, role: Role, head_dim: usize, dropout: bool) -> Vec<(&'static str, Constant)> {
        let keys = role == Role::Keys;
        vec![
            ("ROW_LANES", Constant::U32(self.row_lanes)),
            ("COLUMN_LANES", Constant::U32(self.column_lanes)),
            ("WORKGROUP_SIZE", Constant::U32(self.count())),
            ("ROWS", Constant::U32(self.rows)),
            ("COLUMN_QUADS", Constant::U32(self.column_quads)),
            ("QUADS", Constant::U32(self.quads(head_dim))),
            ("STAGED", Constant::Bool(self.staged)),
            ("ALIGNED", Constant::Bool(head_dim.is_multiple_of(4))),
            ("HEAD_DIM", Constant::U32(head_dim as u32)),
            ("DROPOUT", Constant::Bool(dropout)),
            ("KEYS", Constant::Bool(keys)),
            // The number of results: one or two.
            ("RESULT_x", Constant::Bool(true)),
            ("RESULT_y", Constant::Bool(keys)),
        ]
    }

    #[cfg(test)]
    fn name(&self) -> String {
        let Self { row_lanes, column_lanes, rows, column_quads, staged } = self;
        let memory = if *staged { "staged" } else { "direct" };
        format!("{memory} {row_lanes}x{column_lanes} lanes of {rows}x{}", 4 * column_quads)
    }
}

#[cfg(test)]
mod tests {
    use super::super::forms::FORMS;
    use super::*;

    #[test]
    fn tiles_and_blocks_are_parts_of_words_of_bits() {
        for form in &FORMS {
            let (tile, block) = (form.layout.tile_rows(), form.layout.block());
            assert!(tile.is_power_of_two() && (4..=32).contains(&tile), "{}", form.name);
            assert!(block.is_multiple_of(32), "{}", form.name);
            let constants = form.layout.constants(Role::Queries, 64, false);
            let lanes = constants.iter().find(|(name, _)| *name == "WORKGROUP_SIZE");
            let Some((_, Constant::U32(lanes))) = lanes else { panic!("{constants:?}") };
            assert!((block / 4).is_multiple_of(*lanes) || lanes.is_multiple_of(block / 4), "{}", form.name);
        }
    }

    #[test]
    fn lanes_own_every_vector_of_a_head_together() {
        for head_dim in [1, 3, 4, 64, 100, 128, 252, 256, 420, 5000] {
            for lanes in
                [Lanes::direct([1, 8, 16, 2]), Lanes::direct([4, 16, 4, 1]), Lanes::direct([1, 8, 4, 2])]
            {
                let owned = lanes.chunks(head_dim) * lanes.quads(head_dim) * lanes.column_lanes;
                assert!(owned * 4 >= head_dim as u32, "{lanes:?} of {head_dim}");
                assert!(lanes.chunks(64) == 1);
            }
        }
    }
}
