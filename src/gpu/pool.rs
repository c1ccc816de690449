//! Intermediate buffers, kept for the next call.
//!
//! A buffer goes back to the pool when its use has been *recorded*, not when the GPU has finished: whoever takes it
//! next writes it before reading it within one recorded sequence, and a queue runs sequences one after the other.

use std::sync::atomic::Ordering;

use super::context::lock;
use super::{Gpu, Slot};

/// Idle buffers past this many bytes are freed, oldest first.
const IDLE_BYTES: u64 = 256 << 20;

#[derive(Default)]
pub(super) struct Pool {
    idle: Vec<wgpu::Buffer>,
    bytes: u64,
}

impl Pool {
    /// Bytes of all buffers of the pool, in use or idle.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes -= self.idle.drain(..).map(|buffer| buffer.size()).sum::<u64>();
    }

    /// The smallest idle buffer that is large enough, unless it is more than twice too large.
    fn take(&mut self, bytes: u64) -> Option<wgpu::Buffer> {
        let fits = |size: u64| (bytes..=bytes.saturating_mul(2)).contains(&size);
        let (index, _) = (self.idle.iter().enumerate())
            .filter(|(_, buffer)| fits(buffer.size()))
            .min_by_key(|(_, buffer)| buffer.size())?;
        Some(self.idle.remove(index))
    }

    fn give(&mut self, buffer: wgpu::Buffer) {
        self.idle.push(buffer);
        let mut idle: u64 = self.idle.iter().map(wgpu::Buffer::size).sum();
        while idle > IDLE_BYTES && self.idle.len() > 1 {
            let freed = self.idle.remove(0).size();
            idle -= freed;
            self.bytes -= freed;
        }
    }
}

/// An intermediate buffer of f32 or mask words. Its contents are undefined at first; dropping it hands it to the next
/// taker.
pub(crate) struct Workspace {
    gpu: Gpu,
    buffer: Option<wgpu::Buffer>,
    bytes: u64,
}

impl Workspace {
    /// A buffer of at least `words` 32-bit words.
    pub(crate) fn new(gpu: &Gpu, label: &'static str, words: u64) -> Self {
        let bytes = words.max(1) * 4;
        let taken = lock(&gpu.inner().pool).take(bytes);
        let buffer = taken.unwrap_or_else(|| {
            let inner = gpu.inner();
            inner.counters.buffers.fetch_add(1, Ordering::Relaxed);
            lock(&inner.pool).bytes += bytes;
            inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        });
        Self { gpu: gpu.clone(), buffer: Some(buffer), bytes }
    }

    pub(crate) fn slot(&self) -> Slot<'_> {
        Slot { buffer: self.buffer.as_ref(), offset: 0, bytes: self.bytes }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            lock(&self.gpu.inner().pool).give(buffer);
        }
    }
}
