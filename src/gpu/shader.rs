//! A kernel's declaration, its WGSL, and its compilation.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::preprocess::preprocess;
use crate::shaders::{self, Source};
use crate::{Error, Result};

/// The declaration of a kernel: everything the host must agree on with its WGSL. A test compares the two.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What names it in labels, errors and the file of choices; `src/reference/NAME.rs` has its meaning.
    pub(crate) name: &'static str,
    /// Its WGSL: `source!("FILE")` is `shaders/FILE.wgsl`, and `src/kernels/FILE.rs` declares the kernel.
    pub(crate) source: Source,
    /// WGSL of a variant that follows from its constants, such as how an operand of some type is declared and loaded.
    pub(crate) generate: Option<fn(&Constants) -> String>,
    /// What is bound, by position.
    pub(crate) bindings: &'static [Binding],
    /// Invocations in a workgroup, for variants without a constant `WORKGROUP_SIZE`.
    pub(crate) workgroup_size: u32,
    /// WGSL of the uniform binding, which `params!` writes.
    pub(crate) params: fn() -> String,
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
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// Pipelines by kernel name and constants.
pub(super) type Pipelines = HashMap<(&'static str, Vec<(&'static str, Constant)>), Arc<Pipeline>>;

impl Kernel {
    /// Storage buffers that it binds.
    pub(crate) fn storage_buffers(&self) -> u32 {
        self.bindings.iter().filter(|binding| !matches!(binding, Binding::Uniform(_))).count() as u32
    }

    /// The complete WGSL of one variant.
    pub(crate) fn wgsl(&self, constants: &Constants) -> Result<String> {
        let mut text = matrix_prelude(constants);
        text.push_str(&prelude(constants));
        if constants.iter().all(|(name, _)| *name != "WORKGROUP_SIZE") {
            let _ = writeln!(text, "const WORKGROUP_SIZE: u32 = {}u;", self.workgroup_size);
        }
        text.push_str(&(self.params)());
        if let Some(generate) = self.generate {
            text.push_str(&generate(constants));
        }
        match preprocess(self.source, shaders::text, constants) {
            Ok(files) => Ok(text + &files),
            Err(message) => Err(Error::Gpu { operation: self.name, message }),
        }
    }

    pub(super) fn compile(&self, device: &wgpu::Device, constants: &Constants) -> Result<Pipeline> {
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
            source: wgpu::ShaderSource::Wgsl(self.wgsl(constants)?.into()),
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
        Ok(Pipeline { pipeline, layout })
    }
}

/// What variants in cooperative matrices begin with: a constant `MATRIX`, the rows and columns of a matrix, makes them such.
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
