//! The forms of the gradients of attention: their table, the defaults, and which are worth measuring.

use super::interface::{Form, Role};
use super::lanes::Lanes;
use crate::gpu::Capabilities;

/// The table of forms, in the order of measurement.
pub(crate) static FORMS: [Form; 8] = [
    // For CPU adapters: a row of lanes is one SIMD vector, and speed depends on multiply-adds per load.
    Form { name: "direct 1x8 lanes of 16x8", layout: &Lanes::direct([1, 8, 16, 2]) },
    Form { name: "direct 1x8 lanes of 8x8", layout: &Lanes::direct([1, 8, 8, 2]) },
    Form { name: "direct 1x8 lanes of 8x16", layout: &Lanes::direct([1, 8, 8, 4]) },
    Form { name: "direct 1x8 lanes of 4x8", layout: &Lanes::direct([1, 8, 4, 2]) },
    // For GPUs.
    Form { name: "staged 8x8 lanes of 2x4", layout: &Lanes::staged([8, 8, 2, 1]) },
    Form { name: "direct 8x8 lanes of 4x4", layout: &Lanes::direct([8, 8, 4, 1]) },
    Form { name: "direct 8x8 lanes of 4x8", layout: &Lanes::direct([8, 8, 4, 2]) },
    // For wide heads.
    Form { name: "direct 4x16 lanes of 4x4", layout: &Lanes::direct([4, 16, 4, 1]) },
];

/// The form for problems that no other form fits.
const LAST_RESORT: &str = "direct 1x8 lanes of 4x8";

/// The form to take without a measurement for this many rows; `None` if none fits.
pub(super) fn default_form(
    role: Role,
    rows: usize,
    head_dim: usize,
    device: &Capabilities<'_>,
) -> Option<Form> {
    let order: &[&str] = match (device.kind.is_cpu(), rows) {
        (true, 0..=4) => &[],
        (true, 5..=8) => &["direct 1x8 lanes of 8x8"],
        (true, _) => &["direct 1x8 lanes of 16x8", "direct 1x8 lanes of 8x8"],
        (false, _) => &["staged 8x8 lanes of 2x4", "direct 8x8 lanes of 4x4", "direct 4x16 lanes of 4x4"],
    };
    let named = |name: &&str| FORMS.iter().find(|form| form.name == *name).copied();
    let mut fitting = order.iter().filter_map(named).filter(|form| form.fits(role, head_dim, device));
    let whole = fitting.find(|form| form.layout.chunks(head_dim) == 1);
    whole.or_else(|| named(&LAST_RESORT).filter(|form| form.fits(role, head_dim, device)))
}

impl Form {
    /// Whether this form supports heads of this width on a device with these capabilities.
    pub(crate) fn fits(&self, role: Role, head_dim: usize, device: &Capabilities<'_>) -> bool {
        self.layout.fits(role, head_dim, device)
            && self.layout.kernel().storage_buffers() <= device.limits.max_storage_buffers_per_shader_stage
    }

    /// Whether the form is worth measuring for this many rows.
    pub(super) fn suits(&self, rows: usize, head_dim: usize) -> bool {
        let tile = self.layout.tile_rows() as usize;
        (rows >= tile.div_ceil(2) || tile <= 4) && (self.layout.chunks(head_dim) == 1 || head_dim > 256)
    }
}

/// Variants of the forms, with the kernels of their layouts, in both roles.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::gpu::Kernel, crate::kernels::Variant)> {
    let mut all = Vec::new();
    let limits = wgpu::Limits::default();
    let least = Capabilities::least(&limits);
    for (i, form) in FORMS.iter().enumerate() {
        for (j, head_dim) in [64, 1, 129, 252].into_iter().enumerate() {
            for role in Role::ALL {
                if form.fits(role, head_dim, &least) {
                    let dropout = (i + j) % 2 == 0;
                    all.push((form.layout.kernel(), form.layout.constants(role, head_dim, dropout)));
                }
            }
        }
    }
    all
}

/// The kernel of a form, and the constants of a variant for this role.
#[cfg(all(test, not(target_arch = "wasm32")))]
impl Form {
    pub(crate) fn variant(
        &self,
        role: Role,
        head_dim: usize,
    ) -> (&'static crate::gpu::Kernel, crate::kernels::Variant) {
        (self.layout.kernel(), self.layout.constants(role, head_dim, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_forms_and_no_two_are_alike() {
        for (i, form) in FORMS.iter().enumerate() {
            assert_eq!(form.name, form.layout.name());
            assert!(FORMS[..i].iter().all(|other| other.name != form.name));
        }
    }

    #[test]
    fn every_head_has_forms_that_fit() {
        let limits = wgpu::Limits::default();
        let device = Capabilities::least(&limits);
        for head_dim in [1, 3, 4, 64, 100, 128, 252, 256, 420, 5000] {
            for role in Role::ALL {
                assert!(FORMS.iter().filter(|form| form.fits(role, head_dim, &device)).count() > 3);
                for rows in [1, 5, 9, 1000] {
                    assert!(default_form(role, rows, head_dim, &device).is_some(), "{head_dim}");
                }
                let last = FORMS.iter().find(|form| form.name == LAST_RESORT);
                assert!(last.is_some_and(|form| form.fits(role, head_dim, &device)));
            }
        }
    }
}
