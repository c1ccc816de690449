//! What goes into results beside the times.

use super::case::Case;
use super::suite::Suite;
use super::work::least_ms;
use super::{AdapterRecord, BenchResults, FORMAT_VERSION, Host, Roofline, Row, Spread, Timing};
use crate::Gpu;

/// Results without rows.
pub(super) fn begin(
    gpu: &Gpu,
    suite: &Suite,
    started_unix: u64,
    timing: Timing,
    roofline: Roofline,
) -> BenchResults {
    BenchResults {
        gqa_bench: FORMAT_VERSION,
        gqa_version: env!("CARGO_PKG_VERSION").into(),
        started_unix,
        host: if cfg!(target_arch = "wasm32") { Host::Browser } else { Host::Native },
        suite: suite.name.into(),
        complete: false,
        adapter: AdapterRecord::of(gpu),
        timing,
        roofline,
        rows: Vec::new(),
        skipped: Vec::new(),
    }
}

/// The part of the limit that work reaches which takes so long.
pub(super) fn share(flops: f64, bytes: f64, time: &Spread, roofline: &Roofline) -> f64 {
    least_ms(flops, bytes, roofline) / time.median
}

/// The row of a case that took so long.
pub(super) fn row(case: &Case, time: Spread, variant: &str, roofline: &Roofline) -> Row {
    let (flops, bytes) = (case.flops(), case.bytes());
    Row {
        id: case.id.clone(),
        kind: case.kind,
        group: case.group.into(),
        title: case.title.clone(),
        dtype: case.dtype.to_string(),
        batch: case.sizes.batch,
        query_len: case.sizes.query_len,
        key_len: case.sizes.key_len,
        query_heads: case.sizes.query_heads,
        key_heads: case.sizes.key_heads,
        head_dim: case.sizes.head_dim,
        features: case.sizes.features,
        variant: variant.into(),
        time,
        flops,
        bytes,
        share_of_roofline: share(flops, bytes, &time, roofline),
    }
}

impl AdapterRecord {
    /// The adapter of this device, with the features and limits that the device has.
    pub fn of(gpu: &Gpu) -> Self {
        let (info, limits) = (gpu.adapter_info(), gpu.limits());
        Self {
            name: info.name.clone(),
            vendor: info.vendor,
            backend: format!("{:?}", info.backend),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
            device_type: format!("{:?}", info.device_type),
            features: gpu.device().features().iter_names().map(|(name, _)| name.into()).collect(),
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_buffer_size: limits.max_buffer_size,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
        }
    }
}
