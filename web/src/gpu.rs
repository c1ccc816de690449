//! A device.

use gqa::{ChoiceSource, Error, Tuning, wgpu};
use js_sys::Promise;
use serde_json::json;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{promise, to_js};

/// A device and its pipelines.
#[wasm_bindgen]
pub struct Gpu(pub(crate) gqa::Gpu);

/// A device on the adapter that `navigator.gpu` gives. That is looked at before this returns, and not later, so the caller
/// may have put something in its place meanwhile.
#[wasm_bindgen(js_name = openGpu)]
pub fn open_gpu(low_power: bool, default_limits: bool, tuning: bool) -> Promise {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    promise(async move {
        let power_preference = match low_power {
            true => wgpu::PowerPreference::LowPower,
            false => wgpu::PowerPreference::HighPerformance,
        };
        let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        let adapter = instance
            .request_adapter(&options)
            .await
            .map_err(|error| to_js(Error::NoAdapter { reason: error.to_string() }))?;
        let required_limits = match default_limits {
            true => wgpu::Limits::default(),
            false => adapter.limits(),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("gqa"),
            required_limits,
            required_features: adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            to_js(Error::Device { adapter: adapter.get_info().name, reason: error.to_string() })
        })?;
        let gpu = gqa::Gpu::from_wgpu(&adapter, device, queue).map_err(to_js)?;
        gpu.set_tuning(if tuning { Tuning::On } else { Tuning::Off });
        Ok(Gpu(gpu))
    })
}

#[wasm_bindgen]
impl Gpu {
    /// `GpuUsage` as JSON.
    pub fn usage(&self) -> String {
        let usage = self.0.usage();
        json!({
            "tensorBytes": usage.tensor_bytes,
            "workspaceBytes": usage.workspace_bytes,
            "pipelines": usage.pipelines,
            "buffers": usage.buffers,
            "bindGroups": usage.bind_groups,
            "dispatches": usage.dispatches,
        })
        .to_string()
    }

    /// An array of `Choice` as JSON.
    pub fn choices(&self) -> String {
        let all = self.0.choices().into_iter().map(|choice| {
            let (source, candidates) = match choice.source {
                ChoiceSource::Default => ("default", None),
                ChoiceSource::Measured { candidates, .. } => ("measured", Some(candidates)),
                ChoiceSource::Remembered => ("remembered", None),
                ChoiceSource::Fixed => ("fixed", None),
            };
            match candidates {
                None => json!({ "class": choice.class, "form": choice.form, "source": source }),
                Some(candidates) => json!({
                    "class": choice.class, "form": choice.form, "source": source, "candidates": candidates,
                }),
            }
        });
        serde_json::Value::from_iter(all).to_string()
    }

    /// Gives back the memory of intermediate buffers.
    pub fn trim(&self) {
        self.0.trim();
    }

    /// Waits until everything submitted so far has run.
    pub fn finish(&self) -> Promise {
        let gpu = self.0.clone();
        promise(async move {
            gpu.finish().await.map_err(to_js)?;
            Ok(JsValue::UNDEFINED)
        })
    }
}
