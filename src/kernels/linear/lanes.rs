//! A projection over lanes and registers.

use super::interface::{BINDINGS, Layout, Params, Variant, operands};
use crate::gpu::{Capabilities, Constant, Kernel, MatrixConfig};
use crate::kernels::params;
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "linear",
    source: source!("linear/lanes"),
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params: params::wgsl::<Params>,
};

/// The grid of lanes (rows × columns), and the rows and vectors of four columns that each lane owns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes {
    row_lanes: u32,
    column_lanes: u32,
    rows: u32,
    quads: u32,
    /// Whether x and w are staged in workgroup memory.
    staged: bool,
}

impl Lanes {
    /// The grid of lanes (rows, columns); rows and vectors of four columns per lane.
    pub(super) const fn direct([row_lanes, column_lanes, rows, quads]: [u32; 4]) -> Self {
        Self { row_lanes, column_lanes, rows, quads, staged: false }
    }

    pub(super) const fn staged(sizes: [u32; 4]) -> Self {
        Self { staged: true, ..Self::direct(sizes) }
    }

    fn count(&self) -> u32 {
        self.row_lanes * self.column_lanes
    }

    fn workgroup_bytes(&self) -> u32 {
        let [rows, columns] = self.tile();
        if self.staged { 16 * (rows * 5 + 4 * columns) } else { 0 }
    }
}

impl Layout for Lanes {
    fn kernel(&self) -> &'static Kernel {
        &KERNEL
    }

    fn tile(&self) -> [u32; 2] {
        [self.row_lanes * self.rows, self.column_lanes * self.quads * 4]
    }

    fn fits(&self, device: &Capabilities<'_>) -> bool {
        self.count() <= device.limits.max_compute_invocations_per_workgroup
            && self.workgroup_bytes() <= device.limits.max_compute_workgroup_storage_size
    }

    fn constants(&self, variant: &Variant, _: Option<MatrixConfig>) -> Vec<(&'static str, Constant)> {
        let mut constants = vec![
            ("ROW_LANES", Constant::U32(self.row_lanes)),
            ("COLUMN_LANES", Constant::U32(self.column_lanes)),
            ("WORKGROUP_SIZE", Constant::U32(self.count())),
            ("ROWS", Constant::U32(self.rows)),
            ("QUADS", Constant::U32(self.quads)),
            ("STAGED", Constant::Bool(self.staged)),
        ];
        constants.extend(variant.constants());
        constants
    }

    #[cfg(test)]
    fn name(&self) -> String {
        let Self { row_lanes, column_lanes, rows, quads, staged } = self;
        let memory = if *staged { "staged" } else { "direct" };
        format!("{memory} {row_lanes}x{column_lanes} lanes of {rows}x{}", 4 * quads)
    }
}
