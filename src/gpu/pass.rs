//! A compute pass: pipelines, bind groups, dispatches, and the library's submissions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shader::{Binding, Constants, Kernel, Pipeline};
use super::sync::lock;
use super::uniforms::Parameters;
use super::{BufferRange, Gpu};
use crate::{Error, Result};

/// Capacity of the cache of bind groups; a full cache is cleared.
const BIND_GROUPS_KEPT: usize = 2048;

/// Bind groups by pipeline and bound ranges. Freeing a buffer removes its bind groups, so none keeps a buffer alive.
#[derive(Default)]
pub(super) struct BindGroups(HashMap<BindGroupKey, wgpu::BindGroup>);

/// The pipeline's address, and each buffer with its bound range.
type BindGroupKey = (usize, Vec<(wgpu::Buffer, u64, u64)>);

impl BindGroups {
    /// Drops the bind groups that bind this buffer.
    pub(super) fn forget(&mut self, buffer: &wgpu::Buffer) {
        self.0.retain(|(_, bound), _| bound.iter().all(|(other, ..)| other != buffer));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The submitter of the encoder that a pass is recorded into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Submitter {
    /// The library, as soon as it is recorded.
    Library,
    /// The caller, at any later time, at most once.
    Caller,
}

/// A compute pass that kernels are dispatched into.
pub(crate) struct Pass<'a> {
    gpu: &'a Gpu,
    pass: wgpu::ComputePass<'static>,
    submitter: Submitter,
    /// Parameter buffers of its dispatches. While held here, they are not overwritten.
    uniforms: Vec<Arc<wgpu::Buffer>>,
}

impl Gpu {
    /// Records a pass in an encoder of the library's own and submits it, under error scopes. One thread at a time does this:
    /// otherwise a buffer that outlives its sequence could be overwritten by another sequence, recorded earlier and
    /// submitted later.
    pub(crate) async fn submit<T>(
        &self,
        operation: &'static str,
        record: impl FnOnce(&mut Pass<'_>) -> Result<T>,
    ) -> Result<T> {
        self.checked(operation, || {
            let _submitting = lock(&self.inner().submitting);
            let mut encoder = self.device().create_command_encoder(&Default::default());
            let mut pass = Pass::new(self, &mut encoder, Submitter::Library);
            let recorded = record(&mut pass)?;
            let Pass { pass, uniforms, .. } = pass;
            drop(pass);
            self.queue().submit([encoder.finish()]);
            drop(uniforms);
            Ok(recorded)
        })
        .await
    }
}

impl<'a> Pass<'a> {
    /// Begins a pass in the caller's encoder, which accepts no other command until the pass is dropped.
    pub(crate) fn begin(gpu: &'a Gpu, encoder: &mut wgpu::CommandEncoder) -> Self {
        Self::new(gpu, encoder, Submitter::Caller)
    }

    fn new(gpu: &'a Gpu, encoder: &mut wgpu::CommandEncoder, submitter: Submitter) -> Self {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("gqa"), timestamp_writes: None };
        let pass = encoder.begin_compute_pass(&descriptor).forget_lifetime();
        Self { gpu, pass, submitter, uniforms: Vec::new() }
    }

    pub(crate) fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    pub(super) fn submitter(&self) -> Submitter {
        self.submitter
    }

    /// Records one dispatch of `workgroups` workgroups. `params` fills the uniform binding, `ranges` the others in order.
    pub(crate) fn dispatch(
        &mut self,
        kernel: &'static Kernel,
        constants: &Constants,
        params: Parameters<'_>,
        ranges: &[BufferRange<'_>],
        workgroups: u64,
    ) -> Result<()> {
        let limit = self.gpu.limits().max_compute_workgroups_per_dimension;
        let (x, y, z) = fold(workgroups, limit).ok_or_else(|| {
            Error::argument(kernel.name, "workgroups", "few enough to be dispatched", workgroups.to_string())
        })?;
        let inner = self.gpu.inner();
        let pipeline = self.pipeline(kernel, constants)?;
        let uniform = inner.uniforms.take(self.gpu, params, self.submitter)?;
        // In the caller's encoders, passing parameters get a new buffer each time: the bind group never recurs, so it is
        // not cached.
        let lasting = matches!(params, Parameters::Lasting(_)) || self.submitter == Submitter::Library;
        let bind_group = self.bind_group(kernel, &pipeline, &uniform, ranges, lasting)?;
        self.uniforms.push(uniform);
        self.pass.set_pipeline(&pipeline.pipeline);
        self.pass.set_bind_group(0, &bind_group, &[]);
        self.pass.dispatch_workgroups(x, y, z);
        inner.counters.dispatches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn bind_group(
        &self,
        kernel: &'static Kernel,
        pipeline: &Arc<Pipeline>,
        uniform: &wgpu::Buffer,
        ranges: &[BufferRange<'_>],
        keep: bool,
    ) -> Result<wgpu::BindGroup> {
        let inner = self.gpu.inner();
        let mut ranges = ranges.iter();
        let mut bound = Vec::with_capacity(kernel.bindings.len());
        for binding in kernel.bindings {
            bound.push(match binding {
                Binding::Uniform(_) => (uniform.clone(), 0, uniform.size()),
                Binding::Read(name) | Binding::Write(name) => {
                    let range = ranges.next().and_then(|range| Some((range.buffer?, range)));
                    let (buffer, range) =
                        range.ok_or_else(|| Error::argument(kernel.name, *name, "bound", "nothing"))?;
                    (buffer.clone(), range.offset, range.bytes)
                }
            });
        }
        let key = (Arc::as_ptr(pipeline) as usize, bound);
        let mut bind_groups = lock(&inner.bind_groups);
        if let Some(known) = bind_groups.0.get(&key) {
            return Ok(known.clone());
        }
        inner.counters.bind_groups.fetch_add(1, Ordering::Relaxed);
        let entries: Vec<_> = (0..)
            .zip(&key.1)
            .map(|(binding, (buffer, offset, bytes))| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: *offset,
                    size: wgpu::BufferSize::new(*bytes),
                }),
            })
            .collect();
        let bind_group = inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        drop(entries);
        if keep {
            if bind_groups.0.len() >= BIND_GROUPS_KEPT {
                bind_groups.0.clear();
            }
            bind_groups.0.insert(key, bind_group.clone());
        }
        Ok(bind_group)
    }

    fn pipeline(&self, kernel: &'static Kernel, constants: &Constants) -> Result<Arc<Pipeline>> {
        let inner = self.gpu.inner();
        let mut pipelines = lock(&inner.pipelines);
        let key = (kernel.name, constants.to_vec());
        if let Some(known) = pipelines.get(&key) {
            return Ok(known.clone());
        }
        // wgpu's handles are not Send in browsers, where there is one thread.
        #[cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync))]
        let compiled = Arc::new(kernel.compile(&inner.device, constants)?);
        pipelines.insert(key, compiled.clone());
        Ok(compiled)
    }
}

/// A grid of at least `workgroups` workgroups within `limit` an axis. Kernels recompute the flat index and leave when it
/// is past the end.
fn fold(workgroups: u64, limit: u32) -> Option<(u32, u32, u32)> {
    let limit = u64::from(limit);
    let x = workgroups.min(limit);
    let y = workgroups.div_ceil(x.max(1)).min(limit);
    let z = workgroups.div_ceil((x * y).max(1));
    (workgroups > 0 && z <= limit && workgroups <= u64::from(u32::MAX))
        .then_some((x as u32, y as u32, z as u32))
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn folding_covers_every_workgroup_with_little_excess() {
        assert_eq!(fold(0, 65_535), None);
        assert_eq!(fold(1, 65_535), Some((1, 1, 1)));
        assert_eq!(fold(65_535, 65_535), Some((65_535, 1, 1)));
        assert_eq!(fold(65_536, 65_535), Some((65_535, 2, 1)));
        assert_eq!(fold(1 << 40, 65_535), None);
        for workgroups in [7, 9, 10, 11, 99, 100, 101, 999, 1000] {
            let (x, y, z) = fold(workgroups, 10).unwrap();
            assert!(x <= 10 && y <= 10 && z <= 10);
            assert!(u64::from(x * y * z) >= workgroups);
        }
        assert_eq!(fold(1001, 10), None);
    }
}
