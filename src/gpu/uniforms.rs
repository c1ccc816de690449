//! Parameters of kernels, in small uniform buffers.
//!
//! Lasting parameters are shared by content and never change, so a repeated call finds its buffers in the cache. Passing
//! ones, such as a dropout seed that no other call has, overwrite a buffer that no pending command reads.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::Gpu;
use super::pass::Submitter;
use super::sync::lock;
use super::tensor::fill_mapped;
use crate::Result;

/// The number of buffers of lasting parameters that are kept (least recently used go first).
const KEPT: usize = 1024;

/// The bytes of a kernel's `Params`.
#[derive(Clone, Copy)]
pub(crate) enum Parameters<'a> {
    /// The same in every call of this kind.
    Lasting(&'a [u8]),
    /// For this call only.
    Passing(&'a [u8]),
}

impl<'a> Parameters<'a> {
    /// The bytes of a block, passing or lasting.
    pub(crate) fn of<P: bytemuck::Pod>(params: &'a P, passing: bool) -> Self {
        let bytes = bytemuck::bytes_of(params);
        if passing { Self::Passing(bytes) } else { Self::Lasting(bytes) }
    }
}

#[derive(Default)]
pub(super) struct Uniforms {
    /// Buffers with their bytes, the most recently used at the back.
    lasting: Mutex<VecDeque<(Vec<u8>, Arc<wgpu::Buffer>)>>,
    /// Buffers of passes that the library submits. Passes hold clones until they are submitted.
    passing: Mutex<Vec<Arc<wgpu::Buffer>>>,
}

impl Uniforms {
    pub(super) fn clear(&self) {
        lock(&self.lasting).clear();
        lock(&self.passing).clear();
    }

    /// A buffer with these parameters, for commands that `submitter` submits.
    pub(super) fn take(
        &self,
        gpu: &Gpu,
        parameters: Parameters<'_>,
        submitter: Submitter,
    ) -> Result<Arc<wgpu::Buffer>> {
        match (parameters, submitter) {
            (Parameters::Lasting(bytes), _) => self.lasting(gpu, bytes),
            (Parameters::Passing(bytes), Submitter::Library) => self.passing(gpu, bytes),
            // The caller may submit at any time, so this buffer can't be reused.
            (Parameters::Passing(bytes), Submitter::Caller) => create(gpu, bytes),
        }
    }

    fn lasting(&self, gpu: &Gpu, bytes: &[u8]) -> Result<Arc<wgpu::Buffer>> {
        let mut all = lock(&self.lasting);
        let known = all.iter().rposition(|(known, _)| known == bytes).and_then(|index| all.remove(index));
        let entry = match known {
            Some(entry) => entry,
            None => (bytes.to_vec(), create(gpu, bytes)?),
        };
        let buffer = entry.1.clone();
        all.push_back(entry);
        if all.len() > KEPT
            && let Some((_, oldest)) = all.pop_front()
        {
            lock(&gpu.inner().bind_groups).forget(&oldest);
        }
        Ok(buffer)
    }

    fn passing(&self, gpu: &Gpu, bytes: &[u8]) -> Result<Arc<wgpu::Buffer>> {
        let mut all = lock(&self.passing);
        let free = |buffer: &&Arc<wgpu::Buffer>| {
            Arc::strong_count(buffer) == 1 && buffer.size() == padded_size(bytes)
        };
        if let Some(buffer) = all.iter().find(free) {
            // The write takes effect after all earlier submissions and before all later ones.
            let mut padded = bytes.to_vec();
            padded.resize(padded_size(bytes) as usize, 0);
            gpu.queue().write_buffer(buffer, 0, &padded);
            return Ok(buffer.clone());
        }
        let buffer = create(gpu, bytes)?;
        all.push(buffer.clone());
        Ok(buffer)
    }
}

// wgpu's handles are not Send in browsers, where there is one thread.
#[cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync))]
fn create(gpu: &Gpu, bytes: &[u8]) -> Result<Arc<wgpu::Buffer>> {
    let inner = gpu.inner();
    inner.counters.buffers.fetch_add(1, Ordering::Relaxed);
    let buffer = inner.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("gqa parameters"),
        size: padded_size(bytes),
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: true,
    });
    fill_mapped("uniform", &buffer, bytes)?;
    Ok(Arc::new(buffer))
}

fn padded_size(bytes: &[u8]) -> u64 {
    (bytes.len() as u64).next_multiple_of(16)
}
