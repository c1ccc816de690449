//! The forms of a projection in matrix units: its kernel, sizes and constants. [`linear`](super::linear) dispatches it.

use super::linear::{BINDINGS, Params, operands};
use super::{ELEMENTS, GRID, HALVES, PROJECTION};
use crate::DType;
use crate::gpu::{Constant, Kernel, Units, element_constant};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "linear_matrix",
    sources: &[GRID, ELEMENTS, PROJECTION, HALVES, include_str!("../../shaders/linear_matrix.wgsl")],
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params_size: size_of::<Params>(),
};

/// What a workgroup computes: parts in rows × in columns, one for each subgroup, the rows and columns of a part, and the
/// k that are taken at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Parts {
    pub(crate) grid: [u32; 2],
    pub(crate) sizes: [u32; 2],
    pub(crate) step: u32,
}

impl Parts {
    /// Rows and columns of a workgroup.
    pub(crate) const fn tile(&self) -> [u32; 2] {
        [self.grid[0] * self.sizes[0], self.grid[1] * self.sizes[1]]
    }

    fn workgroup_bytes(&self, units: Units) -> u32 {
        let [rows, columns] = self.tile();
        let [x, w] = [rows * (self.step + 8) * 2, self.step * (columns + 8) * 2];
        x + w + self.grid[0] * self.grid[1] * units.size * units.size * 4
    }

    /// Whether a device with these limits can run it.
    pub(crate) fn fits(&self, units: Units, limits: &wgpu::Limits) -> bool {
        units.lanes() <= limits.max_compute_invocations_per_workgroup
            && self.workgroup_bytes(units) <= limits.max_compute_workgroup_storage_size
    }
}

pub(crate) fn constants(
    parts: Parts,
    units: Units,
    [x, w]: [DType; 2],
    [aligned, has_bias, gate]: [bool; 3],
) -> Vec<(&'static str, Constant)> {
    vec![
        ("MATRIX", Constant::U32(units.size)),
        ("WORKGROUP_SIZE", Constant::U32(units.lanes())),
        ("PARTS_AT_ONCE", Constant::U32(units.parts)),
        ("PART_ROWS", Constant::U32(parts.grid[0])),
        ("PART_COLUMNS", Constant::U32(parts.grid[1])),
        ("ROWS", Constant::U32(parts.sizes[0] / units.size)),
        ("COLUMNS", Constant::U32(parts.sizes[1] / units.size)),
        ("STEP", Constant::U32(parts.step)),
        ("ALIGNED", Constant::Bool(aligned)),
        ("X_TYPE", element_constant(x)),
        ("W_TYPE", element_constant(w)),
        ("HAS_BIAS", Constant::Bool(has_bias)),
        ("GATE", Constant::Bool(gate)),
    ]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    let mut all = Vec::new();
    for form in super::linear::MATRIX_FORMS {
        for (flags, units) in (0..8usize).zip(super::UNITS.into_iter().cycle()) {
            let on = |bit: usize| flags >> bit & 1 == 1;
            let x = if on(1) { DType::F32 } else { DType::F16 };
            let parts = form.matrix().unwrap();
            all.push(constants(parts, units, [x, DType::F16], [on(0), on(1), on(2)]));
        }
    }
    all
}
