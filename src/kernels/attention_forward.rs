//! Fused attention: out and lse from q, k and v in one pass over the keys.

use bytemuck::{Pod, Zeroable};

use super::attention_forward_matrix::{self, Rows};
use super::merge_splits::merge_splits;
use super::{BLOCKS, ELEMENTS, FUSED, GRID, LOOP_LIMIT, PHILOX, VISIBLE, WEIGH, tile_ranges};
use crate::dropout::Dropout;
use crate::gpu::{
    Binding, Class, ClassShape, Constant, Constants, Gpu, Kernel, Parameters, Pass, Slot, Tuning, Units,
    element_constant, is_on, operand, result, size_class,
};
use crate::mask::Visibility;
use crate::shapes::Dims;
use crate::tuning::{self, Layout};
use crate::{DType, Error, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "attention_forward",
    sources: &[
        GRID,
        ELEMENTS,
        PHILOX,
        VISIBLE,
        WEIGH,
        BLOCKS,
        FUSED,
        include_str!("../../shaders/attention_forward.wgsl"),
    ],
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params_size: size_of::<Params>(),
};

/// Of the forms in matrix units too.
pub(super) const BINDINGS: &[Binding] = &[
    Binding::Uniform("params"),
    Binding::Read("q"),
    Binding::Read("k"),
    Binding::Read("v"),
    Binding::Read("mask_bits"),
    Binding::Write("out"),
    Binding::Write("lse"),
    Binding::Write("state"),
];

/// The widest heads that it takes.
pub(crate) const MAX_HEAD_DIM: usize = 256;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    visibility: Visibility,
    query_len: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    scale: f32,
    batch_begin: u32,
    query_begin: u32,
    queries: u32,
    key_base: u32,
    keys: u32,
    q_base: u32,
    out_base: u32,
    k_base: u32,
    v_base: u32,
    tiles_row: u32,
    tile_begin: u32,
    tile_end: u32,
    key_begin: u32,
    key_end: u32,
    splits: u32,
    keys_per_split: u32,
    out_stride: u32,
    state_stride: u32,
    dropout_q_offset: u32,
    dropout_batch_offset: u32,
    dropout_threshold: u32,
    seed_low: u32,
    seed_high: u32,
    keep_scale: f32,
    padding: [u32; 3],
}

/// The operands of fused attention.
pub(crate) struct AttentionForward<'a> {
    /// q `[B,T,H,D]`
    pub(crate) q: (Slot<'a>, DType),
    /// k `[B,S,Hkv,D]`
    pub(crate) k: (Slot<'a>, DType),
    /// v `[B,S,Hkv,D]`
    pub(crate) v: (Slot<'a>, DType),
    /// What [`Masks::pack`](crate::mask::Masks::pack) gives.
    pub(crate) masks: (Visibility, Slot<'a>),
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
    /// out `[B,T,H,D]` f32
    pub(crate) out: Slot<'a>,
    /// lse `[B,H,T]` f32
    pub(crate) lse: Slot<'a>,
}

/// How the kernel is laid out over lanes and registers, or over matrix units.
pub(crate) type Form = tuning::Form<Lanes, Rows>;

/// Lanes in rows × in columns, what each owns, and over how many workgroups keys are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lanes {
    row_lanes: u32,
    column_lanes: u32,
    rows: u32,
    /// Groups of four keys that a lane owns of a block.
    key_quads: u32,
    staged: bool,
    /// Workgroups that there should be at the least, by splitting keys; 0: keys are not split.
    workgroups: u32,
}

impl Lanes {
    const fn count(&self) -> u32 {
        self.row_lanes * self.column_lanes
    }

    const fn tile_rows(&self) -> u32 {
        self.row_lanes * self.rows
    }

    const fn key_block(&self) -> u32 {
        self.column_lanes * self.key_quads * 4
    }

    /// Vectors of four of D that a lane owns.
    fn quads(&self, head_dim: usize) -> u32 {
        (head_dim as u32).div_ceil(4).div_ceil(self.column_lanes)
    }

    fn workgroup_bytes(&self, head_dim: usize) -> u32 {
        let probs = self.tile_rows() * self.key_block() * 4;
        let stage = if self.staged { self.key_block() * ((head_dim as u32).div_ceil(4) + 1) * 16 } else { 0 };
        probs + stage + self.tile_rows() * (4 + self.key_block() / 8) + 16
    }

    fn fits(&self, head_dim: usize, limits: &wgpu::Limits) -> bool {
        self.count() <= limits.max_compute_invocations_per_workgroup
            && self.workgroup_bytes(head_dim) <= limits.max_compute_workgroup_storage_size
            // More would not stay in registers, and takes long to compile.
            && self.rows * self.quads(head_dim) <= 48
    }

    /// Loop iterations of one invocation for a block.
    fn iterations(&self, head_dim: usize, dropout: bool) -> u32 {
        let (block, quads) = (self.key_block(), (head_dim as u32).div_ceil(4));
        let loading = if self.staged { 2 * (block * quads).div_ceil(self.count()) } else { 0 };
        let softmax = (block / 4 + block / 32) * 2 + if dropout { block / 4 * 10 } else { 0 };
        // The four at the end: the bits of masks and of wild keys, p · v and the block itself.
        quads + loading + softmax + block / 32 * 2 + self.tile_rows() + block + 1
    }
}

impl Form {
    const fn direct(name: &'static str, sizes: [u32; 4]) -> Self {
        Self::split(name, sizes, 0)
    }

    const fn staged(name: &'static str, [row_lanes, column_lanes, rows, key_quads]: [u32; 4]) -> Self {
        let lanes = Lanes { row_lanes, column_lanes, rows, key_quads, staged: true, workgroups: 0 };
        Self { name, layout: Layout::Lanes(lanes) }
    }

    const fn split(
        name: &'static str,
        [row_lanes, column_lanes, rows, key_quads]: [u32; 4],
        workgroups: u32,
    ) -> Self {
        let lanes = Lanes { row_lanes, column_lanes, rows, key_quads, staged: false, workgroups };
        Self { name, layout: Layout::Lanes(lanes) }
    }

    const fn parts(name: &'static str, rows: u32, key_block: u32) -> Self {
        Self { name, layout: Layout::Matrix(Rows { rows, key_block }) }
    }

    const fn tile_rows(&self) -> u32 {
        match &self.layout {
            Layout::Lanes(lanes) => lanes.tile_rows(),
            Layout::Matrix(rows) => rows.tile_rows(),
        }
    }

    const fn key_block(&self) -> u32 {
        match &self.layout {
            Layout::Lanes(lanes) => lanes.key_block(),
            Layout::Matrix(rows) => rows.key_block,
        }
    }

    /// Workgroups that there should be at the least, by splitting keys; 0: keys are not split.
    const fn workgroups(&self) -> u32 {
        match &self.layout {
            Layout::Lanes(lanes) => lanes.workgroups,
            Layout::Matrix(_) => 0,
        }
    }

    /// Whether heads of this width run in this form on a device with these limits, and with these matrix units, if it has
    /// any.
    pub(crate) fn fits(&self, head_dim: usize, units: Option<Units>, limits: &wgpu::Limits) -> bool {
        let fits = match &self.layout {
            Layout::Lanes(lanes) => lanes.fits(head_dim, limits),
            Layout::Matrix(rows) => units.is_some_and(|units| rows.fits(head_dim, units, limits)),
        };
        fits && head_dim <= MAX_HEAD_DIM
            && KERNEL.bindings.len() - 1 <= limits.max_storage_buffers_per_shader_stage as usize
    }

    /// Over how many workgroups the keys of a tile are split.
    fn splits(&self, dims: &Dims) -> u32 {
        let tiles = self.tiles(dims, dims.query_len) * dims.batch as u64;
        let blocks = (dims.key_len as u64).div_ceil(u64::from(self.key_block()));
        let wanted = u64::from(self.workgroups()).div_ceil(tiles);
        // As few as give each the same number of blocks.
        let blocks_each = blocks.div_ceil(wanted.clamp(1, blocks));
        blocks.div_ceil(blocks_each) as u32
    }

    /// Tiles of so many queries of one batch element.
    fn tiles(&self, dims: &Dims, queries: usize) -> u64 {
        self.tiles_row(dims, queries) * dims.key_heads as u64
    }

    fn tiles_row(&self, dims: &Dims, queries: usize) -> u64 {
        ((queries * dims.group_size()) as u64).div_ceil(u64::from(self.tile_rows()))
    }

    /// Keys in one dispatch, in whole blocks, by the iterations of one invocation for a block.
    fn keys_per_dispatch(&self, head_dim: usize, dropout: bool) -> usize {
        let iterations = match &self.layout {
            Layout::Lanes(lanes) => lanes.iterations(head_dim, dropout),
            Layout::Matrix(rows) => rows.iterations(head_dim, dropout),
        };
        (LOOP_LIMIT / iterations as usize).max(1) * self.key_block() as usize
    }
}

/// The forms to choose from, in the order in which they are tried: lanes in rows × in columns, and the rows and keys that
/// each owns of a block.
pub(crate) const FORMS: [Form; 17] = [
    // For adapters that are CPUs: a row of lanes is a vector of theirs, and multiply-adds per load decide.
    Form::direct("direct 1x8 lanes of 8x16", [1, 8, 8, 4]),
    Form::direct("direct 1x8 lanes of 16x8", [1, 8, 16, 2]),
    Form::direct("direct 1x8 lanes of 12x16", [1, 8, 12, 4]),
    Form::direct("direct 1x8 lanes of 8x8", [1, 8, 8, 2]),
    Form::direct("direct 1x8 lanes of 4x8", [1, 8, 4, 2]),
    // For GPUs.
    Form::staged("staged 8x8 lanes of 4x4", [8, 8, 4, 1]),
    Form::staged("staged 8x8 lanes of 8x4", [8, 8, 8, 1]),
    Form::direct("direct 8x8 lanes of 4x8", [8, 8, 4, 2]),
    // For few rows.
    Form::split("direct 1x8 lanes of 4x8, keys split for 8 workgroups", [1, 8, 4, 2], 8),
    Form::split("direct 1x8 lanes of 2x8, keys split for 8 workgroups", [1, 8, 2, 2], 8),
    Form::split("direct 1x8 lanes of 1x8, keys split for 8 workgroups", [1, 8, 1, 2], 8),
    Form::split("direct 1x32 lanes of 4x4, keys split for 256 workgroups", [1, 32, 4, 1], 256),
    Form::split("direct 1x32 lanes of 4x4, keys split for 1024 workgroups", [1, 32, 4, 1], 1024),
    Form::split("direct 1x32 lanes of 1x4, keys split for 256 workgroups", [1, 32, 1, 1], 256),
    Form::split("direct 1x32 lanes of 1x4, keys split for 1024 workgroups", [1, 32, 1, 1], 1024),
    // For wide heads.
    Form::direct("direct 1x8 lanes of 2x8", [1, 8, 2, 2]),
    Form::direct("direct 8x16 lanes of 2x4", [8, 16, 2, 1]),
];

/// The forms in matrix units, which round q, k and v to f16: the rows of each of the four parts of a workgroup, and the keys
/// of a block.
pub(crate) const MATRIX_FORMS: [Form; 4] = [
    Form::parts("matrix 4 parts of 16 rows by 32 keys", 16, 32),
    Form::parts("matrix 4 parts of 16 rows by 64 keys", 16, 64),
    Form::parts("matrix 4 parts of 32 rows by 32 keys", 32, 32),
    Form::parts("matrix 4 parts of 8 rows by 32 keys", 8, 32),
];

/// All of them.
pub(crate) fn forms() -> impl Iterator<Item = Form> {
    FORMS.into_iter().chain(MATRIX_FORMS)
}

/// Rows of one batch element that fewer than this many are few: keys are split then.
const FEW_ROWS: usize = 64;

/// The form that is taken unmeasured; `None` where none fits.
pub(crate) fn default_form(cpu: bool, dims: &Dims, limits: &wgpu::Limits) -> Option<Form> {
    let rows = dims.query_len * dims.group_size();
    let order: &[usize] = match (cpu, rows) {
        (true, 1) => &[10, 9, 4],
        (true, 2..=3) => &[9, 10, 4],
        (true, 4..=7) => &[8, 9, 4],
        (true, 8..=32) => &[0, 3, 4, 15],
        (true, _) => &[1, 0, 3, 4, 15],
        (false, 1) => &[13, 10],
        (false, 2..=FEW_ROWS) => &[11, 13, 8],
        (false, _) => &[5, 7, 16, 4, 15],
    };
    let fitting = |&&index: &&usize| FORMS[index].fits(dims.head_dim, None, limits);
    order.iter().find(fitting).map(|&index| FORMS[index])
}

/// Whether a form is worth trying for these dimensions.
pub(crate) fn suits(form: &Form, dims: &Dims) -> bool {
    let rows = dims.query_len * dims.group_size();
    let tile = form.tile_rows() as usize;
    if form.workgroups() > 0 {
        return rows < FEW_ROWS && rows >= tile.div_ceil(2) && rows.div_ceil(tile) <= 8;
    }
    rows >= tile.div_ceil(2) && rows >= 4
}

/// What a run of attention is, for the choice of its form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) dims: Dims,
    pub(crate) types: [DType; 3],
    pub(crate) visibility: Visibility,
    pub(crate) dropout: bool,
    /// Whether the caller's numbers are f16, so that operands held in f32 may be rounded to it.
    pub(crate) half: bool,
}

impl Shape {
    fn class(&self, gpu: &Gpu) -> Class {
        let dims = &self.dims;
        Class {
            kernel: KERNEL.name,
            shape: ClassShape {
                types: self.types.map(DType::name),
                sizes: [
                    ("D", dims.head_dim as u32),
                    ("rows", size_class(dims.query_len * dims.group_size())),
                    ("S", size_class(dims.key_len)),
                    ("heads", size_class(dims.batch * dims.key_heads)),
                    ("", 0),
                ],
                flags: [
                    ("causal", self.visibility.is_causal()),
                    ("window", self.visibility.has_window()),
                    ("masked", self.visibility.has_masks()),
                    ("dropout", self.dropout),
                    ("matrix-units", self.units(gpu).is_some()),
                ],
            },
        }
    }

    /// Whether q, k and v may be rounded to f16.
    fn is_half(&self) -> bool {
        self.half && !self.types.contains(&DType::Bf16)
    }

    /// The matrix units that it may run on.
    fn units(&self, gpu: &Gpu) -> Option<Units> {
        if self.is_half() { gpu.tested_units() } else { None }
    }

    /// The form to take, if any fits.
    pub(crate) fn form(&self, gpu: &Gpu) -> Option<Form> {
        let default = self.default_form(gpu)?;
        let units = self.units(gpu);
        // A form that the caller wants is not replaced for the heads' sake, but matrix units are for f16 alone.
        let forms = forms().filter(|form| units.is_some() || !form.is_matrix());
        Some(tuning::form(gpu, &self.class(gpu), forms, default))
            .filter(|form| form.fits(self.dims.head_dim, units, gpu.limits()))
    }

    fn default_form(&self, gpu: &Gpu) -> Option<Form> {
        default_form(gpu.is_cpu(), &self.dims, gpu.limits())
    }

    /// Measures the candidates on scratch buffers, without masks, if that has not been done. Fewer heads, and then fewer
    /// queries and keys, stand for very many.
    pub(crate) async fn tune(&self, gpu: &Gpu) -> Result<()> {
        if self.is_half() && gpu.tuning() == Tuning::On {
            gpu.test_matrix_units().await?;
        }
        let class = self.class(gpu);
        if !tuning::is_due(gpu, &class) {
            return Ok(());
        }
        let (units, dims) = (self.units(gpu), self.dims);
        let fitting = forms().filter(|form| form.fits(dims.head_dim, units, gpu.limits()));
        let suiting = fitting.filter(|form| suits(form, &dims));
        let candidates = tuning::candidates(gpu, self.default_form(gpu), suiting);
        if !tuning::is_open(gpu, &class, &candidates) {
            return Ok(());
        }
        let dims = tuning::smaller(gpu, dims, |dims| {
            2 * (dims.batch * dims.query_heads * dims.query_len * dims.head_dim) as u64 * dims.key_len as u64
        });
        let Dims { batch, query_len, key_len, query_heads, key_heads, head_dim } = dims;
        let (queries, keys) =
            (batch * query_len * query_heads * head_dim, batch * key_len * key_heads * head_dim);
        let dropout = self.dropout.then_some(Dropout { probability: 0.1, ..Dropout::default() });
        let seen = self.visibility.without_masks();
        let hides = self.visibility.hides() || self.dropout;
        let seen = if hides { seen.with_wild_keys(0, &dims) } else { seen };
        let words = [
            self.types[0].words(queries),
            self.types[1].words(keys),
            self.types[2].words(keys),
            queries as u64,
            (batch * query_len * query_heads) as u64,
            super::find_wild::words(&dims) as u64,
        ];
        let [q, k, v, out, lse, mask_bits] = tuning::scratch(gpu, words).await?;
        let operands = AttentionForward {
            q: (q.slot(), self.types[0]),
            k: (k.slot(), self.types[1]),
            v: (v.slot(), self.types[2]),
            masks: (seen, mask_bits.slot()),
            scale: 1.0,
            dropout,
            out: out.slot(),
            lse: lse.slot(),
        };
        tuning::tune(gpu, class, &candidates, |pass, form| attention_forward(pass, &dims, &operands, form))
            .await
    }
}

fn constants(
    lanes: Lanes,
    [q, k, v]: [DType; 3],
    head_dim: usize,
    [dropout, weigh, partial]: [bool; 3],
) -> Vec<(&'static str, Constant)> {
    vec![
        ("ROW_LANES", Constant::U32(lanes.row_lanes)),
        ("COLUMN_LANES", Constant::U32(lanes.column_lanes)),
        ("WORKGROUP_SIZE", Constant::U32(lanes.count())),
        ("ROWS", Constant::U32(lanes.rows)),
        ("OWN", Constant::U32(lanes.tile_rows().div_ceil(lanes.count()))),
        ("KEY_QUADS", Constant::U32(lanes.key_quads)),
        ("QUADS", Constant::U32(lanes.quads(head_dim))),
        ("STAGED", Constant::Bool(lanes.staged)),
        ("ALIGNED", Constant::Bool(head_dim.is_multiple_of(4))),
        ("Q_TYPE", element_constant(q)),
        ("K_TYPE", element_constant(k)),
        ("V_TYPE", element_constant(v)),
        ("HEAD_DIM", Constant::U32(head_dim as u32)),
        ("DROPOUT", Constant::Bool(dropout)),
        ("WEIGH", Constant::Bool(weigh)),
        ("PARTIAL", Constant::Bool(partial)),
    ]
}

/// WGSL of the operands, for the forms in matrix units too.
pub(super) fn operands(constants: &Constants) -> String {
    let aligned = is_on("ALIGNED", constants);
    [
        operand("q", 1, "Q_TYPE", aligned, constants),
        operand("k", 2, "K_TYPE", aligned, constants),
        operand("v", 3, "V_TYPE", aligned, constants),
        result("out", 5, aligned),
    ]
    .concat()
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    let mut all = Vec::new();
    let least = wgpu::Limits::default();
    for (i, form) in FORMS.into_iter().enumerate() {
        let Layout::Lanes(lanes) = form.layout else { continue };
        for (j, head_dim) in [64, 1, 129, 252].into_iter().enumerate() {
            if !form.fits(head_dim, None, &least) {
                continue;
            }
            let (q, k, v) = (super::FLOATS[i % 3], super::FLOATS[(i + j) % 3], super::FLOATS[j % 3]);
            let on = |bit: usize| (i + j) >> bit & 1 == 1;
            all.push(constants(lanes, [q, k, v], head_dim, [on(0), on(1), lanes.workgroups > 0]));
        }
    }
    all
}

/// Records q, k, v → out and lse. Where keys may be hidden or dropped, `masks` has the bits of find_wild.
pub(crate) fn attention_forward<'a>(
    pass: &mut Pass<'_>,
    dims: &Dims,
    operands: &AttentionForward<'a>,
    form: Form,
) -> Result<()> {
    let &Dims { batch, query_len, query_heads, head_dim, .. } = dims;
    let splits = form.splits(dims);
    let rows = (batch * query_heads * query_len) as u64;
    let state = pass.workspace("state", 2 * rows * u64::from(splits));
    if splits == 1 {
        return Run { dims, operands, form, splits, out: operands.out, state: state.slot() }.record(pass);
    }
    let parts = pass.workspace("parts", rows * u64::from(splits) * head_dim as u64);
    let run = Run { dims, operands, form, splits, out: parts.slot(), state: state.slot() };
    run.record(pass)?;
    let keep_scale = operands.dropout.unwrap_or_default().keep_scale() as f32;
    merge_splits(pass, dims, splits, keep_scale, [parts.slot(), state.slot(), operands.out, operands.lse])
}

/// Attention in one form, all of it.
struct Run<'r, 'a> {
    dims: &'r Dims,
    operands: &'r AttentionForward<'a>,
    form: Form,
    splits: u32,
    /// `[B,T,H,D]`, of each split.
    out: Slot<'r>,
    state: Slot<'r>,
}

/// A part of the work whose operands fit one binding each: queries and keys of some batch elements.
struct Window {
    batches: (usize, usize),
    queries: (usize, usize),
    keys: (usize, usize),
}

impl Run<'_, '_> {
    fn record(&self, pass: &mut Pass<'_>) -> Result<()> {
        let limits = pass.gpu().binding_limits();
        let &Dims { batch, query_len, key_len, query_heads, key_heads, head_dim, .. } = self.dims;
        let &AttentionForward { q: (_, q_type), k: (_, k_type), v: (_, v_type), .. } = self.operands;
        let query_bytes = [q_type.size(), 4].map(|size| (query_heads * head_dim * size) as u64);
        let key_bytes = [k_type.size(), v_type.size()].map(|size| (key_heads * head_dim * size) as u64);
        let batch_bytes = [
            query_bytes[0] * query_len as u64,
            query_bytes[1] * query_len as u64,
            key_bytes[0] * key_len as u64,
            key_bytes[1] * key_len as u64,
        ];
        for batches in limits.ranges(batch, &batch_bytes) {
            // More than one batch element fits, or else its queries and keys are split.
            for queries in limits.ranges(query_len, &query_bytes.map(|bytes| bytes * batches.1 as u64)) {
                let key_bytes = key_bytes.map(|bytes| bytes * batches.1 as u64);
                for keys in limits.ranges_of(self.form.key_block() as usize, key_len, &key_bytes) {
                    self.record_window(pass, &Window { batches, queries, keys })?;
                }
            }
        }
        Ok(())
    }

    fn record_window(&self, pass: &mut Pass<'_>, window: &Window) -> Result<()> {
        let Self { dims, operands, form, splits, .. } = *self;
        let &Dims { query_len, key_len, query_heads, key_heads, head_dim, .. } = dims;
        let limits = pass.gpu().binding_limits();
        let bound = |slot, dtype: DType, len: usize, heads: usize, (first, count): (usize, usize)| {
            let row = (heads * head_dim * dtype.size()) as u64;
            let begin = (window.batches.0 * len + first) as u64 * row;
            let rows = (window.batches.1 - 1) * len + count;
            let (slot, shift) = limits.window(slot, begin, rows as u64 * row);
            (slot, (shift / dtype.size() as u64) as u32)
        };
        let (q, q_base) = bound(operands.q.0, operands.q.1, query_len, query_heads, window.queries);
        let (k, k_base) = bound(operands.k.0, operands.k.1, key_len, key_heads, window.keys);
        let (v, v_base) = bound(operands.v.0, operands.v.1, key_len, key_heads, window.keys);
        let (out, out_base) = match splits {
            1 => bound(self.out, DType::F32, query_len, query_heads, window.queries),
            _ => (self.out, 0),
        };
        let slots = [q, k, v, operands.masks.1, out, operands.lse, self.state];
        let types = [operands.q.1, operands.k.1, operands.v.1];
        let flags = [operands.dropout.is_some(), operands.masks.0.has_wild_keys(), splits > 1];
        let (kernel, constants) = match form.layout {
            Layout::Lanes(lanes) => (&KERNEL, constants(lanes, types, head_dim, flags)),
            Layout::Matrix(rows) => {
                let units = pass.gpu().units().ok_or_else(|| {
                    Error::argument(KERNEL.name, "form", "one without matrix units", form.name)
                })?;
                let [dropout, weigh, _] = flags;
                let constants =
                    attention_forward_matrix::constants(rows, units, types, head_dim, [dropout, weigh]);
                (&attention_forward_matrix::KERNEL, constants)
            }
        };

        let rows = dims.batch * query_heads * query_len;
        let tiles = form.tiles(dims, window.queries.1) * window.batches.1 as u64 * u64::from(splits);
        let keys_per_split = key_len.div_ceil(form.key_block() as usize).div_ceil(splits as usize);
        let keys_per_split = keys_per_split * form.key_block() as usize;
        let step = form.keys_per_dispatch(head_dim, operands.dropout.is_some());
        let (first_key, last_key) = (window.keys.0, window.keys.0 + window.keys.1);
        for key_begin in (first_key..last_key).step_by(if splits == 1 { step } else { key_len }) {
            let key_end = if splits == 1 { (key_begin + step).min(last_key) } else { key_len };
            let keys = keys_per_split.min(key_end - key_begin);
            let work = 2 * u64::from(form.tile_rows()) * (keys * head_dim) as u64;
            let dropout = operands.dropout.unwrap_or_default();
            for (tile_begin, tile_end) in tile_ranges(tiles, work) {
                let params = Params {
                    visibility: operands.masks.0,
                    query_len: query_len as u32,
                    key_len: key_len as u32,
                    query_heads: query_heads as u32,
                    key_heads: key_heads as u32,
                    scale: operands.scale,
                    batch_begin: window.batches.0 as u32,
                    query_begin: window.queries.0 as u32,
                    queries: window.queries.1 as u32,
                    key_base: window.keys.0 as u32,
                    keys: window.keys.1 as u32,
                    q_base,
                    out_base,
                    k_base,
                    v_base,
                    tiles_row: form.tiles_row(dims, window.queries.1) as u32,
                    tile_begin,
                    tile_end,
                    key_begin: key_begin as u32,
                    key_end: key_end as u32,
                    splits,
                    keys_per_split: if splits == 1 { key_len as u32 } else { keys_per_split as u32 },
                    out_stride: (rows * head_dim) as u32,
                    state_stride: rows as u32,
                    dropout_q_offset: dropout.q_offset,
                    dropout_batch_offset: dropout.batch_offset,
                    dropout_threshold: dropout.threshold(),
                    seed_low: dropout.seed as u32,
                    seed_high: (dropout.seed >> 32) as u32,
                    keep_scale: dropout.keep_scale() as f32,
                    padding: [0; 3],
                };
                let workgroups = u64::from(tile_end - tile_begin);
                let params = Parameters::of(&params, operands.dropout.is_some());
                pass.dispatch(kernel, &constants, params, &slots, workgroups)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_forms() {
        for form in FORMS {
            let Form { name, layout: Layout::Lanes(lanes) } = form else { panic!("{form:?}") };
            let Lanes { row_lanes, column_lanes, rows, key_quads, staged, workgroups } = lanes;
            let memory = if staged { "staged" } else { "direct" };
            let mut expected =
                format!("{memory} {row_lanes}x{column_lanes} lanes of {rows}x{}", 4 * key_quads);
            if workgroups > 0 {
                expected += &format!(", keys split for {workgroups} workgroups");
            }
            assert_eq!(name, expected);
        }
        for form in MATRIX_FORMS {
            let Rows { rows, key_block } = form.matrix().unwrap();
            assert_eq!(form.name, format!("matrix 4 parts of {rows} rows by {key_block} keys"));
        }
    }

    #[test]
    fn heads_up_to_256_have_a_form_that_fits_and_blocks_are_whole_words_of_mask_bits() {
        let least = wgpu::Limits::default();
        assert!(FORMS.iter().chain(&MATRIX_FORMS).all(|form| form.key_block().is_multiple_of(32)));
        for head_dim in [1, 3, 4, 64, 100, 128, 252, 256] {
            for query_len in [1, 2, 3, 5, 40, 1000] {
                for (query_heads, key_heads) in [(1, 1), (4, 1), (8, 2)] {
                    let dims = Dims { batch: 2, query_len, key_len: 5000, query_heads, key_heads, head_dim };
                    for cpu in [true, false] {
                        let form = default_form(cpu, &dims, &least).unwrap();
                        assert!(form.fits(head_dim, None, &least));
                        assert!(form.keys_per_dispatch(head_dim, true) >= form.key_block() as usize);
                        let (splits, blocks) =
                            (form.splits(&dims), dims.key_len.div_ceil(form.key_block() as usize));
                        assert!(splits >= 1 && splits as usize <= blocks);
                        assert!((splits == 1) >= (form.workgroups() == 0), "{form:?}");
                    }
                }
            }
        }
        let wide = Dims { batch: 1, query_len: 8, key_len: 8, query_heads: 1, key_heads: 1, head_dim: 257 };
        assert!(
            default_form(true, &wide, &wgpu::Limits { max_compute_workgroup_storage_size: 1 << 20, ..least })
                .is_none()
        );
    }
}
