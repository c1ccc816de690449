//! Matrix units: whether a device has them, and whether they may be used.

use std::sync::Mutex;

use super::Gpu;
use super::context::lock;

/// What is known of a device's matrix units (tensor cores, simdgroup matrices), which multiply f16 and add up in f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatrixUnits {
    /// The device has none that can be used, or none were asked for.
    Off,
    /// They are there, and nothing has tested them yet.
    Untested,
    /// They are there, and are not used since their results were wrong, or could not be had.
    Failed {
        /// What was wrong.
        reason: String,
    },
    /// They are there, and their results were right.
    Passed {
        /// The rows and columns of their matrices: 8 or 16.
        size: u32,
    },
}

/// How a device has matrix units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Units {
    /// The rows and columns of a matrix.
    pub(crate) size: u32,
    /// Lanes of a subgroup, the most likely number of them.
    pub(crate) subgroup: u32,
    /// Parts of a workgroup's work that its subgroups do at once at the most, whatever their number. Fewer than there are
    /// subgroups only in tests.
    pub(crate) parts: u32,
}

/// Features of wgpu that a device must have been made with.
pub(super) const FEATURES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// Subgroups of a workgroup that uses matrix units, if they are as wide as is likely.
const SUBGROUPS: u32 = 4;

/// What a device has, and what its test said.
#[derive(Default)]
pub(super) struct State {
    units: Mutex<Option<Units>>,
    verdict: Mutex<Option<Result<(), String>>>,
}

impl State {
    /// What a device with these features has on this adapter.
    pub(super) fn new(adapter: &wgpu::Adapter, features: wgpu::Features) -> Self {
        let has = |size: u32| {
            adapter.cooperative_matrix_properties().iter().any(|shape| {
                [shape.m_size, shape.n_size, shape.k_size] == [size; 3]
                    && shape.ab_type == wgpu::CooperativeScalarType::F16
                    && shape.cr_type == wgpu::CooperativeScalarType::F32
            })
        };
        let info = adapter.get_info();
        let size = [16, 8].into_iter().find(|&size| features.contains(FEATURES) && has(size));
        let subgroup = subgroup([info.subgroup_min_size, info.subgroup_max_size]);
        let units = size.zip(subgroup).map(|(size, subgroup)| Units { size, subgroup, parts: SUBGROUPS });
        Self { units: Mutex::new(units), verdict: Mutex::default() }
    }
}

/// The lanes that a subgroup is taken to have, if workgroups of [`SUBGROUPS`] such are whole subgroups at every size that the
/// driver may choose.
fn subgroup([min, max]: [u32; 2]) -> Option<u32> {
    let likely = 32.clamp(min, max.max(min));
    (min > 0 && (SUBGROUPS * likely).is_multiple_of(max)).then_some(likely)
}

impl Units {
    /// Invocations of a workgroup.
    pub(crate) fn lanes(&self) -> u32 {
        SUBGROUPS * self.subgroup
    }
}

impl Gpu {
    /// What is known of the device's matrix units. [`test_matrix_units`](Self::test_matrix_units) tests them; so does the
    /// first call whose operands they could take.
    pub fn matrix_units(&self) -> MatrixUnits {
        let state = &self.inner().matrix_units;
        let Some(units) = self.units() else { return MatrixUnits::Off };
        match &*lock(&state.verdict) {
            None => MatrixUnits::Untested,
            Some(Err(reason)) => MatrixUnits::Failed { reason: reason.clone() },
            Some(Ok(())) => MatrixUnits::Passed { size: units.size },
        }
    }

    /// The matrix units that the device has, whether they work or not.
    pub(crate) fn units(&self) -> Option<Units> {
        *lock(&self.inner().matrix_units.units)
    }

    /// Has matrix units used as if a subgroup had so many lanes, and so many parts at once.
    #[cfg(all(test, not(target_arch = "wasm32")))]
    pub(crate) fn set_units(&self, subgroup: u32, parts: u32) {
        if let Some(units) = lock(&self.inner().matrix_units.units).as_mut() {
            (units.subgroup, units.parts) = (subgroup, parts);
        }
    }

    /// The matrix units that have passed their test.
    pub(crate) fn tested_units(&self) -> Option<Units> {
        let passed = matches!(&*lock(&self.inner().matrix_units.verdict), Some(Ok(())));
        self.units().filter(|_| passed)
    }

    /// Notes what a test of the matrix units said.
    pub(crate) fn judge_units(&self, verdict: Result<(), String>) {
        *lock(&self.inner().matrix_units.verdict) = Some(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::subgroup;

    #[test]
    fn workgroups_are_whole_subgroups_whatever_size_the_driver_takes() {
        // lavapipe, NVIDIA, AMD, Metal as wgpu reports it, and what no adapter should report.
        let cases = [
            ([8, 8], Some(8)),
            ([32, 32], Some(32)),
            ([32, 64], Some(32)),
            ([64, 64], Some(64)),
            ([4, 64], Some(32)),
            ([4, 128], Some(32)),
            ([16, 256], None),
            ([0, 0], None),
        ];
        for (sizes, expected) in cases {
            assert_eq!(subgroup(sizes), expected, "{sizes:?}");
        }
    }
}
