//! `gqa adapters`.

use anyhow::Result;
use gqa::wgpu::{DeviceType, Features};

use crate::say;

pub(crate) fn print() -> Result<()> {
    let adapters = pollster::block_on(gqa::adapters());
    if adapters.is_empty() {
        return Err(
            gqa::Error::NoAdapter { reason: "no driver offers one with compute shaders".into() }.into()
        );
    }
    for adapter in adapters {
        let (info, limits) = (&adapter.info, &adapter.limits);
        let best = if adapter.index == 0 { "  ← taken unless --adapter names another" } else { "" };
        say!("{}: {}{best}", adapter.index, info.name);
        say!("   backend    {}", info.backend);
        say!("   driver     {}", [info.driver.as_str(), &info.driver_info].join(" ").trim());
        say!("   kind       {}", kind(info.device_type));
        say!(
            "   limits     buffers {}, bindings {}, {} storage buffers, {} of workgroup memory, {} invocations",
            bytes(limits.max_buffer_size),
            bytes(limits.max_storage_buffer_binding_size),
            limits.max_storage_buffers_per_shader_stage,
            bytes(u64::from(limits.max_compute_workgroup_storage_size)),
            limits.max_compute_invocations_per_workgroup,
        );
        say!("   features   {}", features(adapter.features, info));
    }
    Ok(())
}

fn kind(device_type: DeviceType) -> &'static str {
    match device_type {
        DeviceType::DiscreteGpu => "discrete GPU",
        DeviceType::IntegratedGpu => "integrated GPU",
        DeviceType::VirtualGpu => "virtual GPU",
        DeviceType::Cpu => "software (CPU)",
        DeviceType::Other => "other",
    }
}

fn features(features: Features, info: &gqa::wgpu::AdapterInfo) -> String {
    let subgroups = format!("subgroups of {} to {}", info.subgroup_min_size, info.subgroup_max_size);
    let known = [
        (Features::SHADER_F16, "f16 arithmetic"),
        (Features::SUBGROUP, subgroups.as_str()),
        (Features::TIMESTAMP_QUERY, "timestamps"),
        (Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative matrices"),
    ];
    let there: Vec<_> =
        known.iter().filter(|(feature, _)| features.contains(*feature)).map(|(_, name)| *name).collect();
    if there.is_empty() { "none beyond WebGPU's own".into() } else { there.join(", ") }
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // Three digits are enough, and 2 GiB − 1 reads as 2 GiB.
    let text = if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{} {}", text.trim_end_matches(".0"), UNITS[unit])
}
