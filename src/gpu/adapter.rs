//! Lists adapters, and finds one by name, by index or by default.

use crate::{Error, Result};

/// The most storage buffers that a required kernel binds.
pub(super) const STORAGE_BUFFERS: u32 = 5;

/// Properties of an adapter, known before a device is created on it.
#[derive(Debug, Clone)]
pub struct AdapterFacts {
    /// Position in the list of [`adapters`].
    pub index: usize,
    /// Name, backend, driver and device type, as wgpu reports them.
    pub info: wgpu::AdapterInfo,
    /// The limits that a device on it can have.
    pub limits: wgpu::Limits,
    /// The features that a device on it can have.
    pub features: wgpu::Features,
}

impl AdapterFacts {
    fn new(index: usize, adapter: &wgpu::Adapter) -> Self {
        Self { index, info: adapter.get_info(), limits: adapter.limits(), features: adapter.features() }
    }

    /// `name (backend)`.
    pub fn label(&self) -> String {
        label(&self.info)
    }
}

fn label(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({})", info.name, info.backend)
}

/// Every adapter of this machine that can run compute shaders, best first: discrete before integrated before
/// virtual before software, and native APIs before OpenGL.
pub async fn adapters() -> Vec<AdapterFacts> {
    let all = enumerate().await;
    all.iter().enumerate().map(|(index, adapter)| AdapterFacts::new(index, adapter)).collect()
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

async fn enumerate() -> Vec<wgpu::Adapter> {
    let mut all = instance().enumerate_adapters(wgpu::Backends::all()).await;
    all.retain(|adapter| {
        let downlevel = adapter.get_downlevel_capabilities();
        downlevel.flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
            && adapter.limits().max_storage_buffers_per_shader_stage >= STORAGE_BUFFERS
    });
    // A stable sort keeps the driver's order of equal adapters.
    all.sort_by_key(|adapter| rank(&adapter.get_info()));
    all
}

fn rank(info: &wgpu::AdapterInfo) -> (u8, u8) {
    let device = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (device, u8::from(info.backend == wgpu::Backend::Gl))
}

/// The best adapter.
pub(super) async fn best() -> Result<wgpu::Adapter> {
    if cfg!(target_arch = "wasm32") {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        return instance()
            .request_adapter(&options)
            .await
            .map_err(|error| Error::NoAdapter { reason: error.to_string() });
    }
    let first = enumerate().await.into_iter().next();
    first.ok_or_else(|| Error::NoAdapter { reason: "no driver offers one with compute shaders".into() })
}

/// The adapter that `wanted` names: its index in [`adapters`], or a part of its name, driver or backend, in any letter case.
/// The first match wins. A number beyond the list is matched against names, as in `4090`.
pub(super) async fn find(wanted: &str) -> Result<wgpu::Adapter> {
    let all = enumerate().await;
    if all.is_empty() {
        return Err(Error::NoAdapter { reason: "no driver offers one with compute shaders".into() });
    }
    let infos: Vec<_> = all.iter().map(wgpu::Adapter::get_info).collect();
    match position(&infos, wanted) {
        Some(index) => all.into_iter().nth(index).ok_or_else(|| Error::NoAdapter { reason: wanted.into() }),
        None => Err(Error::AdapterNotFound {
            wanted: wanted.into(),
            available: infos.iter().enumerate().map(|(i, info)| format!("{i}: {}", label(info))).collect(),
        }),
    }
}

fn position(infos: &[wgpu::AdapterInfo], wanted: &str) -> Option<usize> {
    let wanted = wanted.trim();
    if let Some(index) = wanted.parse::<usize>().ok().filter(|&index| index < infos.len()) {
        return Some(index);
    }
    if wanted.is_empty() {
        return None;
    }
    let wanted = wanted.to_lowercase();
    infos.iter().position(|info| {
        let text = format!("{} {} {} {}", info.name, info.driver, info.driver_info, info.backend);
        text.to_lowercase().contains(&wanted)
    })
}
