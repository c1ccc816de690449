//! Capabilities of a device that layouts depend on: its kind, its limits, its cooperative matrices.

use std::sync::Mutex;

use super::Gpu;
use super::sync::lock;

/// State of a device's cooperative matrices (tensor cores, simdgroup matrices): f16 products, f32 sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CooperativeMatrix {
    /// The device has none that can be used, or they were not requested.
    Off,
    /// Present, not tested yet.
    Untested,
    /// Present, but not used: their results were wrong, or the test could not run.
    Failed {
        /// The cause.
        reason: String,
    },
    /// Present, and their results were right.
    Passed {
        /// The rows and columns of their matrices: 8 or 16.
        size: u32,
    },
}

/// The kinds of adapter that layouts are designed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdapterKind {
    Cpu,
    Nvidia,
    Amd,
    Intel,
    Apple,
    OtherGpu,
}

impl AdapterKind {
    pub(super) fn new(info: &wgpu::AdapterInfo) -> Self {
        match (info.device_type, info.vendor) {
            (wgpu::DeviceType::Cpu, _) => Self::Cpu,
            (_, 0x10de) => Self::Nvidia,
            (_, 0x1002) => Self::Amd,
            (_, 0x8086) => Self::Intel,
            (_, 0x106b) => Self::Apple,
            _ => Self::OtherGpu,
        }
    }

    pub(crate) fn is_cpu(self) -> bool {
        self == Self::Cpu
    }
}

/// Capabilities of a device, as a layout sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capabilities<'a> {
    pub(crate) kind: AdapterKind,
    pub(crate) limits: &'a wgpu::Limits,
    /// The cooperative matrices, if operands may be rounded to f16.
    pub(crate) matrix: Option<MatrixConfig>,
}

/// Configuration of a device's cooperative matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixConfig {
    /// The rows and columns of a matrix.
    pub(crate) size: u32,
    /// The most likely number of lanes in a subgroup.
    pub(crate) subgroup: u32,
    /// The most parts of a tile that the subgroups of a workgroup compute at once. Smaller than the number of subgroups only
    /// in tests.
    pub(crate) parts: u32,
}

#[cfg(test)]
impl<'a> Capabilities<'a> {
    /// A CPU with these limits.
    pub(crate) fn least(limits: &'a wgpu::Limits) -> Self {
        Self { kind: AdapterKind::Cpu, limits, matrix: None }
    }
}

/// Features that a device has where its adapter does.
pub(super) const OPTIONAL: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);

/// Features that cooperative matrices need.
pub(super) const COOPERATIVE_MATRIX: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// Subgroups of a workgroup that uses cooperative matrices, at the most likely subgroup size.
const SUBGROUPS: u32 = 4;

/// A device's cooperative matrices and the verdict of their test.
#[derive(Default)]
pub(super) struct State {
    config: Mutex<Option<MatrixConfig>>,
    verdict: Mutex<Option<Result<(), String>>>,
}

impl State {
    /// The cooperative matrices of a device with these features on this adapter.
    pub(super) fn new(adapter: &wgpu::Adapter, features: wgpu::Features) -> Self {
        let has = |size: u32| {
            adapter.cooperative_matrix_properties().iter().any(|shape| {
                [shape.m_size, shape.n_size, shape.k_size] == [size; 3]
                    && shape.ab_type == wgpu::CooperativeScalarType::F16
                    && shape.cr_type == wgpu::CooperativeScalarType::F32
            })
        };
        let info = adapter.get_info();
        let size = [16, 8].into_iter().find(|&size| features.contains(COOPERATIVE_MATRIX) && has(size));
        let subgroup = subgroup([info.subgroup_min_size, info.subgroup_max_size]);
        let config =
            size.zip(subgroup).map(|(size, subgroup)| MatrixConfig { size, subgroup, parts: SUBGROUPS });
        Self { config: Mutex::new(config), verdict: Mutex::default() }
    }
}

/// The assumed subgroup size, if a workgroup of [`SUBGROUPS`] such subgroups is made of whole subgroups at every size that the
/// driver may choose.
fn subgroup([min, max]: [u32; 2]) -> Option<u32> {
    let likely = 32.clamp(min, max.max(min));
    (min > 0 && (SUBGROUPS * likely).is_multiple_of(max)).then_some(likely)
}

impl MatrixConfig {
    /// Invocations of a workgroup.
    pub(crate) fn lanes(&self) -> u32 {
        SUBGROUPS * self.subgroup
    }
}

impl Gpu {
    /// The capabilities of this device for a layout, with these cooperative matrices.
    pub(crate) fn capabilities(&self, matrix: Option<MatrixConfig>) -> Capabilities<'_> {
        Capabilities { kind: self.kind(), limits: self.limits(), matrix }
    }

    /// State of the device's cooperative matrices. [`test_cooperative_matrix`](Self::test_cooperative_matrix) tests them; so
    /// does the first call that could use them.
    pub fn cooperative_matrix(&self) -> CooperativeMatrix {
        let state = &self.inner().cooperative_matrix;
        let Some(config) = self.matrix_config() else { return CooperativeMatrix::Off };
        match &*lock(&state.verdict) {
            None => CooperativeMatrix::Untested,
            Some(Err(reason)) => CooperativeMatrix::Failed { reason: reason.clone() },
            Some(Ok(())) => CooperativeMatrix::Passed { size: config.size },
        }
    }

    /// The device's cooperative matrices, tested or not.
    pub(crate) fn matrix_config(&self) -> Option<MatrixConfig> {
        *lock(&self.inner().cooperative_matrix.config)
    }

    /// Makes layouts assume subgroups of this many lanes, and compute at most `parts` parts at once.
    #[cfg(all(test, not(target_arch = "wasm32")))]
    pub(crate) fn set_matrix_config(&self, subgroup: u32, parts: u32) {
        if let Some(config) = lock(&self.inner().cooperative_matrix.config).as_mut() {
            (config.subgroup, config.parts) = (subgroup, parts);
        }
    }

    /// The device's cooperative matrices, if they passed their test.
    pub(crate) fn tested_matrix(&self) -> Option<MatrixConfig> {
        let passed = matches!(&*lock(&self.inner().cooperative_matrix.verdict), Some(Ok(())));
        self.matrix_config().filter(|_| passed)
    }

    /// Stores the verdict of a test of the cooperative matrices.
    pub(crate) fn set_verdict(&self, verdict: Result<(), String>) {
        *lock(&self.inner().cooperative_matrix.verdict) = Some(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::subgroup;

    #[test]
    fn workgroups_are_whole_subgroups_whatever_size_the_driver_takes() {
        // lavapipe, NVIDIA, AMD, Metal as wgpu reports it, and sizes that no adapter should report.
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
