//! What a benchmark run writes: one adapter, its measured limits, and a row for each thing that was timed.

use serde::{Deserialize, Serialize};

/// The version of the format that this crate writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The results of one suite on one adapter: the JSON that `gqa bench` writes and `gqa report` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchResults {
    /// [`FORMAT_VERSION`] of the writer.
    pub gqa_bench: u32,
    /// The version of this crate that measured.
    pub gqa_version: String,
    /// When the run began, in seconds since 1970 (UTC).
    pub started_unix: u64,
    /// Where it ran.
    pub host: Host,
    /// Which suite: `quick` or `full`.
    pub suite: String,
    /// False if the run was cancelled or the adapter vanished before every row was measured; the rows there are good.
    pub complete: bool,
    /// The adapter that was measured.
    pub adapter: AdapterRecord,
    /// What the times are.
    pub timing: Timing,
    /// What the adapter can do at most, as measured in this run.
    pub roofline: Roofline,
    /// What was timed.
    pub rows: Vec<Row>,
    /// What was not measured, and why: `(row id, reason)`.
    pub skipped: Vec<(String, String)>,
}

/// The kind of host that ran the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// A program on the machine.
    Native,
    /// A page in a browser, whose checks and timers differ: such figures are compared apart.
    Browser,
}

/// The adapter as wgpu describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterRecord {
    /// Its name.
    pub name: String,
    /// PCI vendor, 0 if unknown.
    pub vendor: u32,
    /// Vulkan, Metal, Dx12, Gl or BrowserWebGpu.
    pub backend: String,
    /// Driver name.
    pub driver: String,
    /// Driver version and whatever else it says of itself.
    pub driver_info: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` or `Other`.
    pub device_type: String,
    /// Features that the kernels can use, by wgpu's names.
    pub features: Vec<String>,
    /// Limits that bound the kernels.
    pub max_storage_buffer_binding_size: u64,
    /// The largest buffer.
    pub max_buffer_size: u64,
    /// Bytes of workgroup memory.
    pub max_compute_workgroup_storage_size: u32,
    /// Invocations in a workgroup.
    pub max_compute_invocations_per_workgroup: u32,
    /// Least and most lanes in a subgroup, 0 if unknown.
    pub subgroup_sizes: [u32; 2],
}

/// What the times of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Differences of GPU timestamps around the commands.
    GpuTimestamps,
    /// Wall clock from before the submission until the queue is idle.
    WallClock,
}

/// What an adapter can do at most, measured by kernels that do nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roofline {
    /// f32 multiply-adds in registers, in 10⁹ floating-point operations a second (a multiply-add is two).
    pub f32_gflops: f64,
    /// Bytes read and written by a copy, in 10⁹ a second.
    pub copy_gbytes: f64,
}

/// One thing that was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Names the row across machines: equal ids are the same work. For example `attention/causal/A1/f32`.
    pub id: String,
    /// What was run.
    pub kind: RowKind,
    /// What the row belongs to: `layer`, `prefill`, `causal`, `window`, `mask`, `decode`, `scaling`, `linear`.
    pub group: String,
    /// A short title for people, such as `A1 causal`.
    pub title: String,
    /// `f32`, `f16` or `bf16`.
    pub dtype: String,
    /// B
    pub batch: usize,
    /// T
    pub query_len: usize,
    /// S
    pub key_len: usize,
    /// H
    pub query_heads: usize,
    /// Hkv
    pub key_heads: usize,
    /// D
    pub head_dim: usize,
    /// C of a layer, 0 for attention alone.
    pub features: usize,
    /// The path and kernel variants that ran, such as `fused rows 4×8`.
    pub variant: String,
    /// Milliseconds.
    pub time: Spread,
    /// Floating-point operations that the work needs: masked-out causal and window products do not count.
    pub flops: f64,
    /// Bytes that must move at the least: every input read once, every output written once.
    pub bytes: f64,
    /// The least milliseconds that the roofline allows for this work ÷ the median: 1 is the limit.
    pub share_of_roofline: f64,
}

/// What a row runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// The whole layer.
    Layer,
    /// Attention alone.
    Attention,
    /// One projection, in one form: the candidates for each shape are rows beside each other.
    Linear,
}

/// Repeated times of the same work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// How many times it was timed, after warm-up.
    pub repetitions: u32,
    /// The least.
    pub min: f64,
    /// A quarter is below this.
    pub lower_quartile: f64,
    /// Half is below this.
    pub median: f64,
    /// A quarter is above this.
    pub upper_quartile: f64,
    /// The most.
    pub max: f64,
}
