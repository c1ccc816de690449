//! A projection on cooperative matrices, which round both operands to f16.

use super::interface::{BINDINGS, Layout, Params, Variant, operands};
use crate::gpu::{Capabilities, Constant, Kernel, MatrixConfig};
use crate::kernels::params;
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "linear_matrix",
    source: source!("linear/matrix"),
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params: params::wgsl::<Params>,
};

/// The tile of a workgroup: the grid of parts (one per subgroup), matrices of rows and columns per part, and the k staged at a
/// time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) grid: [u32; 2],
    pub(super) sizes: [u32; 2],
    pub(super) step: u32,
}

impl Parts {
    fn workgroup_bytes(&self, matrix: MatrixConfig) -> u32 {
        let [rows, columns] = self.tile();
        let [x, w] = [rows * (self.step + 8) * 2, self.step * (columns + 8) * 2];
        x + w + self.grid[0] * self.grid[1] * matrix.size * matrix.size * 4
    }
}

impl Layout for Parts {
    fn kernel(&self) -> &'static Kernel {
        &KERNEL
    }

    fn tile(&self) -> [u32; 2] {
        [self.grid[0] * self.sizes[0], self.grid[1] * self.sizes[1]]
    }

    fn uses_matrices(&self) -> bool {
        true
    }

    fn fits(&self, device: &Capabilities<'_>) -> bool {
        device.matrix.is_some_and(|matrix| {
            matrix.lanes() <= device.limits.max_compute_invocations_per_workgroup
                && self.workgroup_bytes(matrix) <= device.limits.max_compute_workgroup_storage_size
        })
    }

    fn constants(&self, variant: &Variant, matrix: Option<MatrixConfig>) -> Vec<(&'static str, Constant)> {
        let Some(matrix) = matrix else { return Vec::new() };
        let mut constants = vec![
            ("MATRIX", Constant::U32(matrix.size)),
            ("WORKGROUP_SIZE", Constant::U32(matrix.lanes())),
            ("PARTS_AT_ONCE", Constant::U32(matrix.parts)),
            ("PART_ROWS", Constant::U32(self.grid[0])),
            ("PART_COLUMNS", Constant::U32(self.grid[1])),
            ("ROWS", Constant::U32(self.sizes[0] / matrix.size)),
            ("COLUMNS", Constant::U32(self.sizes[1] / matrix.size)),
            ("STEP", Constant::U32(self.step)),
        ];
        constants.extend(variant.constants());
        constants
    }

    #[cfg(test)]
    fn name(&self) -> String {
        let Self { grid: [y, x], sizes: [rows, columns], step } = self;
        format!("matrix {y}x{x} parts of {rows}x{columns} by {step}")
    }
}
