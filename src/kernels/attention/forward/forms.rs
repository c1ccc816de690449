//! The forms of fused attention: their table, the defaults, and which are worth measuring.

use super::interface::{Form, MAX_HEAD_DIM};
use super::lanes::Lanes;
use super::matrix::Rows;
use crate::gpu::Capabilities;
use crate::kernels::dispatch::LOOP_LIMIT;
use crate::shapes::Dims;

/// The table of forms, in the order of measurement.
pub(crate) static FORMS: [Form; 21] = [
    // For CPU adapters: a row of lanes is one SIMD vector, and speed depends on multiply-adds per load.
    Form { name: "direct 1x8 lanes of 8x16", layout: &Lanes::direct([1, 8, 8, 4]) },
    Form { name: "direct 1x8 lanes of 16x8", layout: &Lanes::direct([1, 8, 16, 2]) },
    Form { name: "direct 1x8 lanes of 12x16", layout: &Lanes::direct([1, 8, 12, 4]) },
    Form { name: "direct 1x8 lanes of 8x8", layout: &Lanes::direct([1, 8, 8, 2]) },
    Form { name: "direct 1x8 lanes of 4x8", layout: &Lanes::direct([1, 8, 4, 2]) },
    // For GPUs.
    Form { name: "staged 8x8 lanes of 4x4", layout: &Lanes::staged([8, 8, 4, 1]) },
    Form { name: "staged 8x8 lanes of 8x4", layout: &Lanes::staged([8, 8, 8, 1]) },
    Form { name: "direct 8x8 lanes of 4x8", layout: &Lanes::direct([8, 8, 4, 2]) },
    // For few rows.
    Form {
        name: "direct 1x8 lanes of 4x8, keys split for 8 workgroups",
        layout: &Lanes::split([1, 8, 4, 2], 8),
    },
    Form {
        name: "direct 1x8 lanes of 2x8, keys split for 8 workgroups",
        layout: &Lanes::split([1, 8, 2, 2], 8),
    },
    Form {
        name: "direct 1x8 lanes of 1x8, keys split for 8 workgroups",
        layout: &Lanes::split([1, 8, 1, 2], 8),
    },
    Form {
        name: "direct 1x32 lanes of 4x4, keys split for 256 workgroups",
        layout: &Lanes::split([1, 32, 4, 1], 256),
    },
    Form {
        name: "direct 1x32 lanes of 4x4, keys split for 1024 workgroups",
        layout: &Lanes::split([1, 32, 4, 1], 1024),
    },
    Form {
        name: "direct 1x32 lanes of 1x4, keys split for 256 workgroups",
        layout: &Lanes::split([1, 32, 1, 1], 256),
    },
    Form {
        name: "direct 1x32 lanes of 1x4, keys split for 1024 workgroups",
        layout: &Lanes::split([1, 32, 1, 1], 1024),
    },
    // For wide heads.
    Form { name: "direct 1x8 lanes of 2x8", layout: &Lanes::direct([1, 8, 2, 2]) },
    Form { name: "direct 8x16 lanes of 2x4", layout: &Lanes::direct([8, 16, 2, 1]) },
    // On cooperative matrices.
    Form { name: "matrix 4 parts of 16 rows by 32 keys", layout: &Rows { rows: 16, key_block: 32 } },
    Form { name: "matrix 4 parts of 16 rows by 64 keys", layout: &Rows { rows: 16, key_block: 64 } },
    Form { name: "matrix 4 parts of 32 rows by 32 keys", layout: &Rows { rows: 32, key_block: 32 } },
    Form { name: "matrix 4 parts of 8 rows by 32 keys", layout: &Rows { rows: 8, key_block: 32 } },
];

/// Fewer rows per batch element than this are few: keys are split then.
const FEW_ROWS: usize = 64;

/// The form to take without a measurement; `None` if none fits.
pub(crate) fn default_form(dims: &Dims, device: &Capabilities<'_>) -> Option<Form> {
    let order: &[&str] = match (device.kind.is_cpu(), group_rows(dims)) {
        (true, 1) => &[
            "direct 1x8 lanes of 1x8, keys split for 8 workgroups",
            "direct 1x8 lanes of 2x8, keys split for 8 workgroups",
            "direct 1x8 lanes of 4x8",
        ],
        (true, 2..=3) => &[
            "direct 1x8 lanes of 2x8, keys split for 8 workgroups",
            "direct 1x8 lanes of 1x8, keys split for 8 workgroups",
            "direct 1x8 lanes of 4x8",
        ],
        (true, 4..=7) => &[
            "direct 1x8 lanes of 4x8, keys split for 8 workgroups",
            "direct 1x8 lanes of 2x8, keys split for 8 workgroups",
            "direct 1x8 lanes of 4x8",
        ],
        (true, 8..=32) => &[
            "direct 1x8 lanes of 8x16",
            "direct 1x8 lanes of 8x8",
            "direct 1x8 lanes of 4x8",
            "direct 1x8 lanes of 2x8",
        ],
        (true, _) => &[
            "direct 1x8 lanes of 16x8",
            "direct 1x8 lanes of 8x16",
            "direct 1x8 lanes of 8x8",
            "direct 1x8 lanes of 4x8",
            "direct 1x8 lanes of 2x8",
        ],
        (false, 1) => &[
            "direct 1x32 lanes of 1x4, keys split for 256 workgroups",
            "direct 1x8 lanes of 1x8, keys split for 8 workgroups",
        ],
        (false, 2..=FEW_ROWS) => &[
            "direct 1x32 lanes of 4x4, keys split for 256 workgroups",
            "direct 1x32 lanes of 1x4, keys split for 256 workgroups",
            "direct 1x8 lanes of 4x8, keys split for 8 workgroups",
        ],
        (false, _) => &[
            "staged 8x8 lanes of 4x4",
            "direct 8x8 lanes of 4x8",
            "direct 8x16 lanes of 2x4",
            "direct 1x8 lanes of 4x8",
            "direct 1x8 lanes of 2x8",
        ],
    };
    let named = |name: &&str| FORMS.iter().find(|form| form.name == *name).copied();
    order.iter().filter_map(named).find(|form| form.fits(dims.head_dim, device))
}

/// Rows of one key/value head's group, per batch element.
fn group_rows(dims: &Dims) -> usize {
    dims.query_len * dims.group_size()
}

impl Form {
    /// Whether this form supports heads of this width on a device with these capabilities.
    pub(crate) fn fits(&self, head_dim: usize, device: &Capabilities<'_>) -> bool {
        let layout = self.layout;
        layout.fits(head_dim, device)
            && head_dim <= MAX_HEAD_DIM
            && layout.kernel().storage_buffers() <= device.limits.max_storage_buffers_per_shader_stage
    }

    /// Whether the form is worth measuring for these dimensions.
    pub(super) fn suits(&self, dims: &Dims) -> bool {
        let (rows, tile) = (group_rows(dims), self.layout.tile_rows() as usize);
        if self.layout.workgroups() > 0 {
            return rows < FEW_ROWS && rows >= tile.div_ceil(2) && rows.div_ceil(tile) <= 8;
        }
        rows >= tile.div_ceil(2) && rows >= 4
    }

    pub(super) fn key_block(&self) -> usize {
        self.layout.key_block() as usize
    }

    /// Number of workgroups that the keys of a tile are split over: 1, or enough that each ends within one dispatch.
    pub(super) fn splits(&self, dims: &Dims) -> u32 {
        let tiles = self.tiles(dims, dims.query_len) * dims.batch as u64;
        let blocks = (dims.key_len as u64).div_ceil(u64::from(self.layout.key_block()));
        let wanted = u64::from(self.layout.workgroups()).div_ceil(tiles);
        let wanted = wanted.clamp(1, blocks);
        if wanted == 1 {
            return 1;
        }
        // The fewest splits with the same number of blocks each.
        let most = (self.keys_per_dispatch(dims.head_dim, true) / self.key_block()) as u64;
        let blocks_each = blocks.div_ceil(wanted).min(most);
        blocks.div_ceil(blocks_each) as u32
    }

    /// Tiles for this many queries of one batch element.
    pub(super) fn tiles(&self, dims: &Dims, queries: usize) -> u64 {
        self.tiles_row(dims, queries) * dims.key_heads as u64
    }

    pub(super) fn tiles_row(&self, dims: &Dims, queries: usize) -> u64 {
        ((queries * dims.group_size()) as u64).div_ceil(u64::from(self.layout.tile_rows()))
    }

    /// Keys per dispatch in whole blocks, within the loop limit of one invocation.
    pub(super) fn keys_per_dispatch(&self, head_dim: usize, dropout: bool) -> usize {
        let iterations = self.layout.iterations(head_dim, dropout) as usize;
        (LOOP_LIMIT / iterations).max(1) * self.key_block()
    }
}

/// Variants of the forms of one kernel that together cover every form, type and flag.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::gpu::Kernel, crate::kernels::Variant)> {
    use super::interface::Variant;
    use crate::DType;

    use crate::kernels::{FLOATS, MATRIX_CONFIGS};
    use crate::tuning::NamedForm as _;
    let mut all = Vec::new();
    for (i, form) in FORMS.iter().enumerate() {
        let on = |bit: usize, j: usize| (i + j) >> bit & 1 == 1;
        let is_matrix = form.uses_matrices();
        let limits = wgpu::Limits {
            max_compute_workgroup_storage_size: if is_matrix { 32 << 10 } else { 16 << 10 },
            ..wgpu::Limits::default()
        };
        let widths = if is_matrix { [64, 1, 129, 128] } else { [64, 1, 129, 252] };
        for (j, head_dim) in widths.into_iter().enumerate() {
            for matrix in
                MATRIX_CONFIGS.iter().copied().take(if is_matrix { MATRIX_CONFIGS.len() } else { 1 })
            {
                let device = Capabilities { matrix: Some(matrix), ..Capabilities::least(&limits) };
                if !form.fits(head_dim, &device) {
                    continue;
                }
                let half = |on: bool| if on { DType::F32 } else { DType::F16 };
                let types = if is_matrix {
                    [half(on(0, j)), half(on(1, j)), DType::F16]
                } else {
                    [FLOATS[i % 3], FLOATS[(i + j) % 3], FLOATS[j % 3]]
                };
                let [dropout, guard_nonfinite] =
                    if is_matrix { [on(1, j), on(0, j)] } else { [on(0, j), on(1, j)] };
                let partial = form.layout.workgroups() > 0;
                let variant = Variant { types, head_dim, dropout, guard_nonfinite, partial };
                all.push((form.layout.kernel(), form.layout.constants(&variant, Some(matrix))));
            }
        }
    }
    all
}

/// The kernel of a form, and the constants of a variant for q, k and v of these types.
#[cfg(all(test, not(target_arch = "wasm32")))]
impl Form {
    pub(crate) fn variant(
        &self,
        types: [crate::DType; 3],
        head_dim: usize,
        matrix: crate::gpu::MatrixConfig,
    ) -> (&'static crate::gpu::Kernel, crate::kernels::Variant) {
        let partial = self.layout.workgroups() > 0;
        let variant =
            super::interface::Variant { types, head_dim, dropout: false, guard_nonfinite: false, partial };
        (self.layout.kernel(), self.layout.constants(&variant, Some(matrix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::AdapterKind;

    #[test]
    fn heads_up_to_256_have_a_form_that_fits_and_blocks_are_whole_words_of_mask_bits() {
        let least = wgpu::Limits::default();
        assert!(FORMS.iter().all(|form| form.key_block().is_multiple_of(32)));
        for head_dim in [1, 3, 4, 64, 100, 128, 252, 256] {
            for query_len in [1, 2, 3, 5, 40, 1000] {
                for (query_heads, key_heads) in [(1, 1), (4, 1), (8, 2)] {
                    let dims = Dims { batch: 2, query_len, key_len: 5000, query_heads, key_heads, head_dim };
                    for kind in [AdapterKind::Cpu, AdapterKind::Nvidia] {
                        let device = Capabilities { kind, ..Capabilities::least(&least) };
                        let form = default_form(&dims, &device).unwrap();
                        assert!(form.keys_per_dispatch(head_dim, true) >= form.key_block());
                        let (splits, blocks) = (form.splits(&dims), dims.key_len.div_ceil(form.key_block()));
                        assert!(splits >= 1 && splits as usize <= blocks);
                        assert!((splits == 1) >= (form.layout.workgroups() == 0), "{form:?}");
                    }
                }
            }
        }
        let wide = Dims { batch: 1, query_len: 8, key_len: 8, query_heads: 1, key_heads: 1, head_dim: 257 };
        let large = wgpu::Limits { max_compute_workgroup_storage_size: 1 << 20, ..least };
        let device = Capabilities::least(&large);
        assert!(default_form(&wide, &device).is_none());
    }

    #[test]
    fn names_tell_the_forms_and_no_two_are_alike() {
        for (i, form) in FORMS.iter().enumerate() {
            assert_eq!(form.name, form.layout.name());
            assert!(FORMS[..i].iter().all(|other| other.name != form.name));
        }
    }
}
