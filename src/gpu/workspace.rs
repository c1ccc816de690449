//! Intermediate buffers, on loan from a pool.

use super::pass::{Pass, Submitter};
use super::sync::lock;
use super::{BufferRange, Gpu, pool};

/// An intermediate buffer of f32 or mask words. Its initial contents are undefined; dropping it returns it to the pool.
pub(crate) struct Workspace {
    gpu: Gpu,
    submitter: Submitter,
    buffer: Option<wgpu::Buffer>,
    bytes: u64,
}

impl Workspace {
    /// A buffer of at least `words` 32-bit words, for sequences that the library submits. [`Pass::workspace`] takes one for
    /// the submitter of its pass.
    pub(crate) fn new(gpu: &Gpu, label: &'static str, words: u64) -> Self {
        Self::of(gpu, Submitter::Library, label, words)
    }

    fn of(gpu: &Gpu, submitter: Submitter, label: &'static str, words: u64) -> Self {
        let bytes = words.max(1) * 4;
        let size = pool::size_class(bytes, gpu.max_tensor_bytes());
        let mut pool = lock(gpu.inner().pools.of(submitter));
        let buffer = pool.take(size).unwrap_or_else(|| {
            pool.bytes += size;
            pool::create(gpu, label, size)
        });
        pool.note_use();
        Self { gpu: gpu.clone(), submitter, buffer: Some(buffer), bytes }
    }

    /// Records a command that sets every byte to 0.
    pub(crate) fn clear(&self, encoder: &mut wgpu::CommandEncoder) {
        if let Some(buffer) = &self.buffer {
            encoder.clear_buffer(buffer, 0, None);
        }
    }

    pub(crate) fn range(&self) -> BufferRange<'_> {
        BufferRange { buffer: self.buffer.as_ref(), offset: 0, bytes: self.bytes }
    }
}

impl Pass<'_> {
    /// An intermediate of at least `words` 32-bit words for commands of this pass.
    pub(crate) fn workspace(&self, label: &'static str, words: u64) -> Workspace {
        Workspace::of(self.gpu(), self.submitter(), label, words)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            pool::give(&self.gpu, self.submitter, buffer);
        }
    }
}
