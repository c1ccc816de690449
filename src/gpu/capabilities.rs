//! What the layouts of kernels may use of a device: its kind, its limits, its cooperative matrices.

use std::sync::Mutex;

use super::Gpu;
use super::sync::lock;

/// What is known of a device's cooperative matrices (tensor cores, simdgroup matrices), which multiply f16 and add up in f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CooperativeMatrix {
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

/// The kinds of adapter that layouts are made for.
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

/// What a layout may use of a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capabilities<'a> {
    pub(crate) kind: AdapterKind,
    pub(crate) limits: &'a wgpu::Limits,
    /// The cooperative matrices that operands may be rounded for.
    pub(crate) matrix: Option<MatrixConfig>,
}

/// How a device has cooperative matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixConfig {
    /// The rows and columns of a matrix.
    pub(crate) size: u32,
    /// Lanes of a subgroup, the most likely number of them.
    pub(crate) subgroup: u32,
    /// Parts of a workgroup's work that its subgroups do at once at the most, whatever their number. Fewer than there are
    /// subgroups only in tests.
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

/// Subgroups of a workgroup that uses cooperative matrices, if they are as wide as is likely.
const SUBGROUPS: u32 = 4;

/// What a device has, and what its test said.
#[derive(Default)]
pub(super) struct State {
    config: Mutex<Option<MatrixConfig>>,
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
        let size = [16, 8].into_iter().find(|&size| features.contains(COOPERATIVE_MATRIX) && has(size));
        let subgroup = subgroup([info.subgroup_min_size, info.subgroup_max_size]);
        let config =
            size.zip(subgroup).map(|(size, subgroup)| MatrixConfig { size, subgroup, parts: SUBGROUPS });
        Self { config: Mutex::new(config), verdict: Mutex::default() }
    }
}

/// The lanes that a subgroup is taken to have, if workgroups of [`SUBGROUPS`] such are whole subgroups at every size that the
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
    /// What a layout may use of this device, with these cooperative matrices.
    pub(crate) fn capabilities(&self, matrix: Option<MatrixConfig>) -> Capabilities<'_> {
        Capabilities { kind: self.kind(), limits: self.limits(), matrix }
    }

    /// What is known of the device's cooperative matrices. [`test_cooperative_matrix`](Self::test_cooperative_matrix) tests them; so does the
    /// first call whose operands they could take.
    pub fn cooperative_matrix(&self) -> CooperativeMatrix {
        let state = &self.inner().cooperative_matrix;
        let Some(config) = self.matrix_config() else { return CooperativeMatrix::Off };
        match &*lock(&state.verdict) {
            None => CooperativeMatrix::Untested,
            Some(Err(reason)) => CooperativeMatrix::Failed { reason: reason.clone() },
            Some(Ok(())) => CooperativeMatrix::Passed { size: config.size },
        }
    }

    /// The cooperative matrices that the device has, whether they work or not.
    pub(crate) fn matrix_config(&self) -> Option<MatrixConfig> {
        *lock(&self.inner().cooperative_matrix.config)
    }

    /// Has cooperative matrices used as if a subgroup had so many lanes, and so many parts at once.
    #[cfg(all(test, not(target_arch = "wasm32")))]
    pub(crate) fn set_matrix_config(&self, subgroup: u32, parts: u32) {
        if let Some(config) = lock(&self.inner().cooperative_matrix.config).as_mut() {
            (config.subgroup, config.parts) = (subgroup, parts);
        }
    }

    /// The cooperative matrices that have passed their test.
    pub(crate) fn tested_matrix(&self) -> Option<MatrixConfig> {
        let passed = matches!(&*lock(&self.inner().cooperative_matrix.verdict), Some(Ok(())));
        self.matrix_config().filter(|_| passed)
    }

    /// Notes what a test of the cooperative matrices said.
    pub(crate) fn set_verdict(&self, verdict: Result<(), String>) {
        *lock(&self.inner().cooperative_matrix.verdict) = Some(verdict);
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
