//! A kernel from its declaration to its dispatch: spec → pipeline → bind → dispatch.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::lock;
use super::uniforms::Parameters;
use super::unroll::unroll;
use super::{Gpu, Slot};
use crate::{Error, Result};

/// The declaration of a kernel: everything the host must agree on with its WGSL. A test compares the two.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The stem of `shaders/NAME.wgsl`, `src/kernels/NAME.rs` and `src/reference/NAME.rs`.
    pub(crate) name: &'static str,
    /// WGSL files, concatenated behind the constants. Their `#for` lines are written out (see [`unroll`]).
    pub(crate) sources: &'static [&'static str],
    /// WGSL of a variant that follows from its constants, such as how an operand of some type is declared and loaded.
    pub(crate) generate: Option<fn(&Constants) -> String>,
    /// What is bound, by position.
    pub(crate) bindings: &'static [Binding],
    /// Invocations in a workgroup, for variants without a constant `WORKGROUP_SIZE`.
    pub(crate) workgroup_size: u32,
    /// Bytes of the struct that fills the uniform binding.
    #[cfg_attr(any(not(test), target_arch = "wasm32"), allow(dead_code))]
    pub(crate) params_size: usize,
}

/// One binding of a kernel: its name in WGSL and how it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// A uniform buffer of parameters.
    Uniform(&'static str),
    /// A storage buffer that is only read.
    Read(&'static str),
    /// A storage buffer that is written.
    Write(&'static str),
}

/// The value of a `const` line in front of a kernel's WGSL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    /// A `u32`.
    U32(u32),
    /// A `bool`.
    Bool(bool),
}

/// Constants by name.
pub(crate) type Constants = [(&'static str, Constant)];

/// The entry point of every kernel.
pub(crate) const ENTRY: &str = "main";

/// A kernel with its constants, compiled.
pub(super) struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// So many bind groups are kept; past that all are made anew.
const BIND_GROUPS_KEPT: usize = 2048;

/// Pipelines by kernel name and constants.
pub(super) type Pipelines = HashMap<(&'static str, Vec<(&'static str, Constant)>), Arc<Pipeline>>;

/// Bind groups by what they bind. Whatever gives up a buffer takes its bind groups out, so none keeps a buffer alive.
#[derive(Default)]
pub(super) struct BindGroups(HashMap<BindGroupKey, wgpu::BindGroup>);

/// The pipeline, by address, and each buffer with the range that is bound of it.
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

impl Kernel {
    /// The complete WGSL of one variant.
    pub(crate) fn wgsl(&self, constants: &Constants) -> String {
        let mut text = matrix_prelude(constants);
        text.push_str(&prelude(constants));
        if constants.iter().all(|(name, _)| *name != "WORKGROUP_SIZE") {
            let _ = writeln!(text, "const WORKGROUP_SIZE: u32 = {}u;", self.workgroup_size);
        }
        if let Some(generate) = self.generate {
            text.push_str(&generate(constants));
        }
        for source in self.sources {
            text.push_str(&unroll(source, constants));
        }
        text
    }

    fn compile(&self, device: &wgpu::Device, constants: &Constants) -> Pipeline {
        let label = Some(self.name);
        let entries: Vec<_> =
            (0..).zip(self.bindings).map(|(index, binding)| layout_entry(index, *binding)).collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let descriptor = wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(self.wgsl(constants).into()),
        };
        let checks =
            wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
        // SAFETY: the only check left out is the one that ends endless loops. Every loop of every kernel counts up to a
        // bound that does not change while it runs. Index checks stay on.
        #[allow(unsafe_code)]
        let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(ENTRY),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}

/// What variants in matrix units begin with: a constant `MATRIX`, the rows and columns of a matrix, makes them such.
fn matrix_prelude(constants: &Constants) -> String {
    let size = constants.iter().find_map(|(name, value)| match value {
        Constant::U32(size) if *name == "MATRIX" => Some(size),
        _ => None,
    });
    let Some(size) = size else { return String::new() };
    // naga takes a branch on the subgroup for divergent, and has this name alone for such complaints.
    format!(
        "enable f16;
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity);
alias MatrixLeft = coop_mat{size}x{size}<f16, A>;
alias MatrixRight = coop_mat{size}x{size}<f16, B>;
alias MatrixSum = coop_mat{size}x{size}<f32, C>;
"
    )
}

fn prelude(constants: &Constants) -> String {
    let mut text = String::new();
    for (name, value) in constants {
        let _ = match value {
            Constant::U32(value) => writeln!(text, "const {name}: u32 = {value}u;"),
            Constant::Bool(value) => writeln!(text, "const {name}: bool = {value};"),
        };
    }
    text
}

fn layout_entry(index: u32, binding: Binding) -> wgpu::BindGroupLayoutEntry {
    let ty = match binding {
        Binding::Uniform(_) => wgpu::BufferBindingType::Uniform,
        Binding::Read(_) => wgpu::BufferBindingType::Storage { read_only: true },
        Binding::Write(_) => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding: index,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

/// Who submits the encoder that a pass is recorded into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Submitter {
    /// The library, as soon as it is recorded.
    Library,
    /// The caller, whenever they like, and never more than once.
    Caller,
}

/// A compute pass that kernels are dispatched into.
pub(crate) struct Pass<'a> {
    gpu: &'a Gpu,
    pass: wgpu::ComputePass<'static>,
    submitter: Submitter,
    /// Those of its dispatches. While they are held here, their contents stay what they are.
    uniforms: Vec<Arc<wgpu::Buffer>>,
}

impl Gpu {
    /// Records a pass in an encoder of the library's own and submits it, under error scopes. No other thread records such a
    /// pass meanwhile: what it takes for longer must not be another's, to be overwritten when that is submitted.
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
    /// Begins a pass in the caller's encoder, which takes no other command until this is dropped.
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

    /// Records one dispatch of `workgroups` workgroups. `params` fills the uniform binding, `slots` the others in order.
    pub(crate) fn dispatch(
        &mut self,
        kernel: &'static Kernel,
        constants: &Constants,
        params: Parameters<'_>,
        slots: &[Slot<'_>],
        workgroups: u64,
    ) -> Result<()> {
        let limit = self.gpu.limits().max_compute_workgroups_per_dimension;
        let (x, y, z) = fold(workgroups, limit).ok_or_else(|| {
            Error::argument(kernel.name, "workgroups", "few enough to be dispatched", workgroups.to_string())
        })?;
        let inner = self.gpu.inner();
        let pipeline = self.pipeline(kernel, constants);
        let uniform = inner.uniforms.take(self.gpu, params, self.submitter)?;
        // Parameters that nobody will have again are in nobody's bind group again.
        let lasting = matches!(params, Parameters::Lasting(_)) || self.submitter == Submitter::Library;
        let bind_group = self.bind_group(kernel, &pipeline, &uniform, slots, lasting)?;
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
        slots: &[Slot<'_>],
        keep: bool,
    ) -> Result<wgpu::BindGroup> {
        let inner = self.gpu.inner();
        let mut slots = slots.iter();
        let mut bound = Vec::with_capacity(kernel.bindings.len());
        for binding in kernel.bindings {
            bound.push(match binding {
                Binding::Uniform(_) => (uniform.clone(), 0, uniform.size()),
                Binding::Read(name) | Binding::Write(name) => {
                    let slot = slots.next().and_then(|slot| Some((slot.buffer?, slot)));
                    let (buffer, slot) =
                        slot.ok_or_else(|| Error::argument(kernel.name, *name, "bound", "nothing"))?;
                    (buffer.clone(), slot.offset, slot.bytes)
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

    fn pipeline(&self, kernel: &'static Kernel, constants: &Constants) -> Arc<Pipeline> {
        let inner = self.gpu.inner();
        let mut pipelines = lock(&inner.pipelines);
        let entry = pipelines.entry((kernel.name, constants.to_vec()));
        // wgpu's handles are not Send in browsers, where there is one thread.
        #[cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync))]
        entry.or_insert_with(|| Arc::new(kernel.compile(&inner.device, constants))).clone()
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
