//! `Gpu`: a device, its queue, and its caches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::adapter::{self, STORAGE_BUFFERS};
use super::capabilities::{self, AdapterKind};
use super::choices::{Choices, Tuning};
use super::pass::BindGroups;
use super::pool::Pools;
use super::shader::Pipelines;
use super::sync::lock;
use super::uniforms::Uniforms;
use crate::{Error, Result};

/// A GPU device with its pipelines, ready to hold tensors and run layers. Cheap to clone: clones share everything.
///
/// ```
/// use gqa::{Gpu, Tensor};
/// # pollster::block_on(async {
/// let gpu = Gpu::from_env().await?; // `Gpu::new` ignores the environment, `Gpu::from_wgpu` takes your device
/// println!("{} ({})", gpu.adapter_info().name, gpu.adapter_info().backend);
/// let x = Tensor::from_slice(&gpu, [2, 3], &[0.5f32; 6]).await?;
/// assert_eq!(gpu.usage().tensor_bytes, 24);
/// drop(x);
/// assert_eq!(gpu.usage().tensor_bytes, 0);
/// # Ok::<(), gqa::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) pools: Pools,
    /// Held while the library records and submits a sequence.
    pub(super) submitting: Mutex<()>,
    pub(super) pipelines: Mutex<Pipelines>,
    pub(super) bind_groups: Mutex<BindGroups>,
    pub(super) uniforms: Uniforms,
    pub(super) choices: Choices,
    pub(super) cooperative_matrix: capabilities::State,
    pub(super) counters: Counters,
    window_bytes: AtomicU64,
    info: wgpu::AdapterInfo,
    limits: wgpu::Limits,
    pending_error: Arc<Mutex<Option<Error>>>,
}

/// Running totals, for [`GpuUsage`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) tensor_bytes: AtomicU64,
    pub(super) buffers: AtomicU64,
    pub(super) bind_groups: AtomicU64,
    pub(super) dispatches: AtomicU64,
}

/// Memory in use by a [`Gpu`], and its counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuUsage {
    /// Bytes of live tensors, without the caller's own buffers.
    pub tensor_bytes: u64,
    /// Bytes of intermediate buffers, in use or kept for the next call.
    pub workspace_bytes: u64,
    /// Pipelines compiled so far.
    pub pipelines: u64,
    /// Buffers created so far.
    pub buffers: u64,
    /// Bind groups created so far.
    pub bind_groups: u64,
    /// Kernels dispatched so far.
    pub dispatches: u64,
}

impl Gpu {
    /// A device on the best adapter of this machine (see [`adapters`](crate::adapters) for the order).
    pub async fn new() -> Result<Self> {
        Self::open(adapter::best().await?, false).await
    }

    /// A device on the adapter that `wanted` names: its index in [`adapters`](crate::adapters), or a part of its name,
    /// driver or backend, such as `"radeon"` or `"vulkan"`.
    pub async fn with_adapter(wanted: &str) -> Result<Self> {
        Self::open(adapter::find(wanted).await?, false).await
    }

    /// A device that may use the adapter's cooperative matrices for f16 operands, if it has any (see
    /// [`cooperative_matrix`](Self::cooperative_matrix)). `wanted` names the adapter as for
    /// [`with_adapter`](Self::with_adapter); `None` is the best one.
    ///
    /// Cooperative matrices are an experimental feature of wgpu, whose guarantee of safety does not cover them. They are
    /// tested on each device before use, and a form that uses them is taken only if it was measured to be fastest.
    pub async fn with_cooperative_matrix(wanted: Option<&str>) -> Result<Self> {
        let adapter = match wanted {
            Some(wanted) => adapter::find(wanted).await?,
            None => adapter::best().await?,
        };
        Self::open(adapter, true).await
    }

    /// A device on the adapter that the environment variable `GQA_ADAPTER` names, or on the best one if it is not set.
    /// `GQA_TUNING=off` turns [tuning](Tuning) off; `GQA_COOPERATIVE_MATRIX=on` turns on
    /// [cooperative matrices](Self::with_cooperative_matrix), if there are any. In browsers, which have no environment, tuning is off
    /// where `GQA_TUNING` was when the program was compiled.
    pub async fn from_env() -> Result<Self> {
        let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set.trim() == value);
        let compiled_without = cfg!(target_arch = "wasm32") && option_env!("GQA_TUNING") == Some("off");
        let adapter = match std::env::var("GQA_ADAPTER") {
            Ok(wanted) if !wanted.trim().is_empty() => adapter::find(&wanted).await?,
            _ => adapter::best().await?,
        };
        let gpu = Self::open(adapter, is("GQA_COOPERATIVE_MATRIX", "on")).await?;
        if is("GQA_TUNING", "off") || compiled_without {
            gpu.set_tuning(Tuning::Off);
        }
        Ok(gpu)
    }

    /// The caller's own device. Make one `Gpu` of it and clone that: tensors of another `Gpu` are refused. The device's limits
    /// are respected, and its error handlers stay in place.
    ///
    /// Fails if a shader stage has fewer storage buffers than the kernels need, as with
    /// `wgpu::Limits::downlevel_defaults()`.
    ///
    /// A device created with wgpu's `EXPERIMENTAL_COOPERATIVE_MATRIX`, `SHADER_F16` and `SUBGROUP` may use
    /// [cooperative matrices](Self::cooperative_matrix).
    ///
    /// Device loss is reported when a result is read back. To learn of it sooner, set your own callback.
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let info = adapter.get_info();
        let buffers = device.limits().max_storage_buffers_per_shader_stage;
        if buffers < STORAGE_BUFFERS {
            let reason = format!(
                "the device allows {buffers} storage buffers in a shader, {STORAGE_BUFFERS} are needed"
            );
            return Err(Error::Device { adapter: info.name, reason });
        }
        Ok(Self::assemble(adapter, device, queue, Arc::default()))
    }

    async fn open(adapter: wgpu::Adapter, cooperative_matrix: bool) -> Result<Self> {
        let info = adapter.get_info();
        let cooperative_matrix =
            cooperative_matrix && adapter.features().contains(capabilities::COOPERATIVE_MATRIX);
        let mut required_features = adapter.features() & capabilities::OPTIONAL;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if cooperative_matrix {
            required_features |= capabilities::COOPERATIVE_MATRIX;
            // SAFETY: the caller requested the experimental feature, and it is tested before use.
            #[allow(unsafe_code)]
            let enabled = unsafe { wgpu::ExperimentalFeatures::enabled() };
            experimental_features = enabled;
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("gqa"),
            required_limits: adapter.limits(),
            required_features,
            experimental_features,
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|error| Error::Device { adapter: info.name.clone(), reason: error.to_string() })?;
        let pending_error: Arc<Mutex<Option<Error>>> = Arc::default();
        let lost = pending_error.clone();
        device.set_device_lost_callback(move |reason, message| {
            let reason = if message.is_empty() { format!("{reason:?}") } else { message };
            *lock(&lost) = Some(Error::DeviceLost { reason });
        });
        let uncaptured = pending_error.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            lock(&uncaptured).get_or_insert(from_wgpu_error("a command outside any call", error));
        }));
        Ok(Self::assemble(&adapter, device, queue, pending_error))
    }

    fn assemble(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        pending_error: Arc<Mutex<Option<Error>>>,
    ) -> Self {
        let (info, limits) = (adapter.get_info(), device.limits());
        let cooperative_matrix = capabilities::State::new(adapter, device.features());
        let inner = Inner {
            device,
            queue,
            pools: Pools::default(),
            submitting: Mutex::default(),
            pipelines: Mutex::default(),
            bind_groups: Mutex::default(),
            uniforms: Uniforms::default(),
            choices: Choices::default(),
            cooperative_matrix,
            counters: Counters::default(),
            window_bytes: AtomicU64::new(0),
            info,
            limits,
            pending_error,
        };
        // wgpu's handles are not Send in browsers, where there is one thread.
        #[cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync))]
        Self { inner: Arc::new(inner) }
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Name, backend, driver and device type of the adapter.
    pub fn adapter_info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// The limits of the device.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.inner.limits
    }

    /// Memory in use and counters of this device.
    pub fn usage(&self) -> GpuUsage {
        let counters = &self.inner.counters;
        GpuUsage {
            tensor_bytes: counters.tensor_bytes.load(Ordering::Relaxed),
            workspace_bytes: self.inner.pools.bytes(),
            pipelines: lock(&self.inner.pipelines).len() as u64,
            buffers: counters.buffers.load(Ordering::Relaxed),
            bind_groups: counters.bind_groups.load(Ordering::Relaxed),
            dispatches: counters.dispatches.load(Ordering::Relaxed),
        }
    }

    /// Frees the intermediate buffers and parameters that no recorded command uses.
    pub fn trim(&self) {
        self.inner.pools.clear();
        lock(&self.inner.bind_groups).clear();
        self.inner.uniforms.clear();
    }

    /// The largest size of a tensor, in bytes.
    pub fn max_tensor_bytes(&self) -> u64 {
        self.inner.limits.max_buffer_size & !3
    }

    /// The size of a binding in bytes, if a test made it smaller than the device allows.
    pub(super) fn window_bytes(&self) -> Option<u64> {
        Some(self.inner.window_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
    }

    /// Makes bindings smaller than the device allows, so that small tensors are bound in windows.
    #[cfg(test)]
    pub(crate) fn set_window_bytes(&self, bytes: u64) {
        self.inner.window_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The kind of the adapter.
    pub(crate) fn kind(&self) -> AdapterKind {
        AdapterKind::new(&self.inner.info)
    }

    /// Whether the adapter is a CPU.
    pub(crate) fn is_cpu(&self) -> bool {
        self.kind().is_cpu()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn is(&self, other: &Gpu) -> bool {
        // wgpu's handles are not compared: those of two instances can be equal.
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The error that happened outside any call, if any. Device loss is reported every time, other errors once.
    pub(crate) fn check(&self) -> Result<()> {
        let mut pending_error = lock(&self.inner.pending_error);
        match &*pending_error {
            None => Ok(()),
            Some(lost @ Error::DeviceLost { .. }) => Err(lost.clone()),
            Some(_) => pending_error.take().map_or(Ok(()), Err),
        }
    }

    /// Runs `work` under error scopes: an error that wgpu reports becomes the `Err`.
    pub(crate) async fn checked<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.check()?;
        // Error scopes are per thread, so they are popped before any await.
        let (result, complaints) = {
            let device = &self.inner.device;
            let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
            let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
            let result = work();
            (result, (validation.pop(), memory.pop(), internal.pop()))
        };
        let complaint = match complaints.0.await {
            Some(error) => Some(error),
            None => match complaints.1.await {
                Some(error) => Some(error),
                None => complaints.2.await,
            },
        };
        match complaint {
            Some(error) => {
                // wgpu returns a handle even when creation failed, so all cached buffers and pipelines are dropped.
                drop(result);
                self.trim();
                lock(&self.inner.pipelines).clear();
                Err(from_wgpu_error(operation, error))
            }
            None => result,
        }
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({}, {})", self.inner.info.name, self.inner.info.backend)
    }
}

fn from_wgpu_error(operation: &'static str, error: wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { source } => Error::OutOfMemory { operation, message: source.to_string() },
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::Gpu { operation, message: description }
        }
    }
}
