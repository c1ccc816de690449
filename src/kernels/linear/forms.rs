//! The forms of a projection: their table, the defaults, and which are worth measuring.

use super::interface::Form;
use super::lanes::Lanes;
use super::matrix::Parts;
use crate::gpu::Capabilities;

/// The table of forms, in the order of measurement.
pub(crate) static FORMS: [Form; 13] = [
    // For CPU adapters: a row of lanes is one SIMD vector, and speed depends on multiply-adds per load.
    Form { name: "direct 1x8 lanes of 8x8", layout: &Lanes::direct([1, 8, 8, 2]) },
    Form { name: "direct 1x8 lanes of 12x8", layout: &Lanes::direct([1, 8, 12, 2]) },
    // For GPUs.
    Form { name: "staged 8x8 lanes of 8x8", layout: &Lanes::staged([8, 8, 8, 2]) },
    Form { name: "staged 16x16 lanes of 4x4", layout: &Lanes::staged([16, 16, 4, 1]) },
    Form { name: "direct 8x8 lanes of 4x4", layout: &Lanes::direct([8, 8, 4, 1]) },
    // For few rows.
    Form { name: "direct 1x8 lanes of 4x8", layout: &Lanes::direct([1, 8, 4, 2]) },
    Form { name: "direct 1x8 lanes of 1x8", layout: &Lanes::direct([1, 8, 1, 2]) },
    Form { name: "direct 1x32 lanes of 4x4", layout: &Lanes::direct([1, 32, 4, 1]) },
    Form { name: "direct 1x32 lanes of 1x4", layout: &Lanes::direct([1, 32, 1, 1]) },
    // For many rows on CPUs.
    Form { name: "direct 1x8 lanes of 16x8", layout: &Lanes::direct([1, 8, 16, 2]) },
    // On cooperative matrices.
    Form {
        name: "matrix 2x2 parts of 32x32 by 32",
        layout: &Parts { grid: [2, 2], sizes: [32, 32], step: 32 },
    },
    Form {
        name: "matrix 2x2 parts of 64x32 by 16",
        layout: &Parts { grid: [2, 2], sizes: [64, 32], step: 16 },
    },
    Form {
        name: "matrix 1x4 parts of 16x32 by 32",
        layout: &Parts { grid: [1, 4], sizes: [16, 32], step: 32 },
    },
];

/// The form to take without a measurement for this many rows; `None` if it does not fit.
pub(crate) fn default_form(rows: usize, device: &Capabilities<'_>) -> Option<Form> {
    let name = match (device.kind.is_cpu(), rows) {
        (true, 1) => "direct 1x8 lanes of 1x8",
        (true, 2..=4) => "direct 1x8 lanes of 4x8",
        (true, 5..=8) => "direct 1x8 lanes of 8x8",
        (true, 9..=12) => "direct 1x8 lanes of 12x8",
        (true, _) => "direct 1x8 lanes of 16x8",
        (false, 1) => "direct 1x32 lanes of 1x4",
        (false, 2..=4) => "direct 1x32 lanes of 4x4",
        (false, 5..=64) => "direct 8x8 lanes of 4x4",
        (false, _) => "staged 8x8 lanes of 8x8",
    };
    FORMS.iter().find(|form| form.name == name && form.fits(device)).copied()
}

impl Form {
    /// Whether a device with these capabilities can run it.
    pub(crate) fn fits(&self, device: &Capabilities<'_>) -> bool {
        self.layout.fits(device)
    }

    /// Whether the form is worth measuring for this many rows: less than half of its tile is past the end, unless that holds
    /// for every form.
    pub(crate) fn suits(&self, rows: usize) -> bool {
        let tile = self.layout.tile()[0] as usize;
        rows >= tile.div_ceil(2) && (tile >= 8 || rows <= 2 * tile)
    }
}

/// Variants of the forms, with the kernels of their layouts, that together have every form, type and flag.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::gpu::Kernel, crate::kernels::Variant)> {
    use super::interface::Variant;
    use crate::DType;
    use crate::kernels::{FLOATS, MATRIX_CONFIGS};
    use crate::tuning::NamedForm as _;
    let mut all = Vec::new();
    for (i, form) in FORMS.iter().enumerate() {
        for (flags, matrix) in (0..8usize).zip(MATRIX_CONFIGS.into_iter().cycle()) {
            let on = |bit: usize| flags >> bit & 1 == 1;
            let types = if form.uses_matrices() {
                [if on(1) { DType::F32 } else { DType::F16 }, DType::F16]
            } else {
                [FLOATS[(i + flags) % 3], FLOATS[(i + flags / 3) % 3]]
            };
            let variant = Variant { types, aligned: on(0), bias: on(1), gate: on(2) };
            all.push((form.layout.kernel(), form.layout.constants(&variant, Some(matrix))));
        }
    }
    all
}

/// The kernel of a form, and the constants of a variant for x and w of these types.
#[cfg(all(test, not(target_arch = "wasm32")))]
impl Form {
    pub(crate) fn variant(
        &self,
        types: [crate::DType; 2],
        matrix: crate::gpu::MatrixConfig,
    ) -> (&'static crate::gpu::Kernel, crate::kernels::Variant) {
        let variant = super::interface::Variant { types, aligned: true, bias: false, gate: false };
        (self.layout.kernel(), self.layout.constants(&variant, Some(matrix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::AdapterKind;
    use crate::tuning::NamedForm as _;

    #[test]
    fn names_tell_the_forms_and_no_two_are_alike() {
        for (i, form) in FORMS.iter().enumerate() {
            assert_eq!(form.name, form.layout.name());
            assert!(FORMS[..i].iter().all(|other| other.name != form.name));
        }
    }

    #[test]
    fn every_form_fits_webgpus_least_limits_and_every_number_of_rows_has_forms_that_suit() {
        let limits = wgpu::Limits::default();
        let plain = Capabilities::least(&limits);
        for form in &FORMS {
            assert_eq!(form.fits(&plain), !form.uses_matrices(), "{}", form.name);
            for matrix in crate::kernels::MATRIX_CONFIGS {
                assert!(form.fits(&Capabilities { matrix: Some(matrix), ..plain }), "{}", form.name);
            }
        }
        for rows in (1..200).chain([1000, 100_000]) {
            for kind in [AdapterKind::Cpu, AdapterKind::Apple] {
                let device = Capabilities { kind, ..plain };
                assert!(default_form(rows, &device).is_some());
                let suiting = FORMS.iter().filter(|form| form.fits(&device) && form.suits(rows));
                assert!(suiting.count() >= 2, "{rows}");
            }
        }
    }
}
