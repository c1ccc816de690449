//! Pools of intermediate buffers and of outputs, for reuse by later calls.
//!
//! An intermediate returns to the pool when its use has been *recorded*, not when the GPU has finished. That is safe: its
//! next user writes it before reading it within one recorded sequence, and a queue runs sequences one after the other, in
//! whatever order they are submitted. A buffer that outlives its sequence (outputs, tapes), however, must not be used by a
//! sequence that was recorded earlier and is submitted later. So there are two pools: one for sequences that the library
//! records and submits at once, and one for sequences that a caller submits at any time.
//!
//! An output returns when its last tensor is dropped, unless a caller's commands may still read it.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::Gpu;
use super::pass::Submitter;
use super::sync::lock;

/// Idle buffers beyond this many bytes, and beyond the peak in use, are freed, oldest first.
const IDLE_BYTES: u64 = 64 << 20;

/// The pools, by submitter.
#[derive(Default)]
pub(super) struct Pools {
    library: Mutex<Pool>,
    caller: Mutex<Pool>,
}

impl Pools {
    pub(super) fn of(&self, submitter: Submitter) -> &Mutex<Pool> {
        match submitter {
            Submitter::Library => &self.library,
            Submitter::Caller => &self.caller,
        }
    }

    /// Bytes of all pooled buffers, in use or idle.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.library).bytes + lock(&self.caller).bytes
    }

    pub(super) fn clear(&self) {
        lock(&self.library).clear();
        lock(&self.caller).clear();
    }
}

#[derive(Default)]
pub(super) struct Pool {
    idle: Vec<wgpu::Buffer>,
    /// Bytes of all buffers, in use or idle.
    pub(super) bytes: u64,
    /// The peak of bytes in use.
    peak: u64,
}

/// Rounds a size up to one of eight steps between powers of two, so that a growing sequence reuses its buffers. A size
/// beyond `limit` is not rounded.
pub(super) fn size_class(bytes: u64, limit: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 8).max(256);
    let rounded = bytes.next_multiple_of(step);
    if rounded <= limit { rounded } else { bytes }
}

impl Pool {
    fn clear(&mut self) {
        self.bytes -= self.idle.drain(..).map(|buffer| buffer.size()).sum::<u64>();
        self.peak = 0;
    }

    /// An idle buffer of exactly this size. Of several, the choice is deterministic: repeated calls get the same buffers for
    /// the same purposes, whatever order they returned in.
    pub(super) fn take(&mut self, size: u64) -> Option<wgpu::Buffer> {
        let fitting = self.idle.iter().enumerate().filter(|(_, buffer)| buffer.size() == size);
        let (index, _) = fitting.min_by(|(_, a), (_, b)| a.cmp(b))?;
        Some(self.idle.remove(index))
    }

    pub(super) fn note_use(&mut self) {
        let idle: u64 = self.idle.iter().map(wgpu::Buffer::size).sum();
        self.peak = self.peak.max(self.bytes - idle);
    }

    /// Adds an idle buffer, and returns the buffers to free in exchange.
    fn give(&mut self, buffer: wgpu::Buffer) -> Vec<wgpu::Buffer> {
        self.idle.push(buffer);
        let mut idle: u64 = self.idle.iter().map(wgpu::Buffer::size).sum();
        let mut freed = Vec::new();
        while idle > self.peak.max(IDLE_BYTES) && self.idle.len() > 1 {
            let buffer = self.idle.remove(0);
            idle -= buffer.size();
            self.bytes -= buffer.size();
            freed.push(buffer);
        }
        freed
    }
}

/// The usage of pooled buffers.
const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

pub(super) fn create(gpu: &Gpu, label: &'static str, size: u64) -> wgpu::Buffer {
    gpu.inner().counters.buffers.fetch_add(1, Ordering::Relaxed);
    let descriptor =
        wgpu::BufferDescriptor { label: Some(label), size, usage: USAGE, mapped_at_creation: false };
    gpu.device().create_buffer(&descriptor)
}

pub(super) fn give(gpu: &Gpu, submitter: Submitter, buffer: wgpu::Buffer) {
    let inner = gpu.inner();
    let freed = lock(inner.pools.of(submitter)).give(buffer);
    let mut bind_groups = lock(&inner.bind_groups);
    freed.iter().for_each(|buffer| bind_groups.forget(buffer));
}

/// Takes a buffer for an output out of the pool. Its contents are undefined.
pub(super) fn take_output(gpu: &Gpu, size: u64) -> wgpu::Buffer {
    let taken = {
        let mut pool = lock(&gpu.inner().pools.library);
        let taken = pool.take(size);
        pool.bytes -= taken.as_ref().map_or(0, wgpu::Buffer::size);
        taken
    };
    taken.unwrap_or_else(|| create(gpu, "gqa output", size))
}

/// Returns an output's buffer, which no command reads any more.
pub(super) fn give_output(gpu: &Gpu, buffer: wgpu::Buffer) {
    lock(&gpu.inner().pools.library).bytes += buffer.size();
    give(gpu, Submitter::Library, buffer);
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn sizes_are_rounded_up_a_little_and_within_the_limit() {
        for bytes in (4..100_000u64).step_by(4).chain([1 << 27, (1 << 27) + 4]) {
            let class = size_class(bytes, u64::MAX);
            assert!(class >= bytes && class <= bytes + (bytes / 4).max(256), "{bytes}: {class}");
            assert_eq!(size_class(class, u64::MAX), class);
        }
        assert_eq!(size_class(1000, 1010), 1000);
    }
}
