//! The gradients of attention: dq, dk and dv from q, k, v, d_out, and the lse and delta of each query.

use std::convert::Infallible;

use bytemuck::{Pod, Zeroable};

use super::{BLOCKS, ELEMENTS, GRID, LOOP_LIMIT, PHILOX, VISIBLE, tile_ranges};
use crate::Result;
use crate::dropout::Dropout;
use crate::gpu::{
    Binding, Class, ClassShape, Constant, Constants, Gpu, Kernel, Parameters, Pass, Slot, is_on, operand,
    result, size_class,
};
use crate::mask::Visibility;
use crate::shapes::Dims;
use crate::tuning::{self, Layout};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "attention_backward",
    sources: &[
        GRID,
        ELEMENTS,
        PHILOX,
        VISIBLE,
        BLOCKS,
        include_str!("../../shaders/attention_backward.wgsl"),
    ],
    generate: Some(operands),
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("row_x"),
        Binding::Read("row_y"),
        Binding::Read("column_x"),
        Binding::Read("column_y"),
        Binding::Read("stats"),
        Binding::Read("mask_bits"),
        Binding::Write("result_x"),
        Binding::Write("result_y"),
    ],
    workgroup_size: 0,
    params_size: size_of::<Params>(),
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    visibility: Visibility,
    query_len: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    scale: f32,
    batch_begin: u32,
    q_base: u32,
    k_base: u32,
    tiles_row: u32,
    chunks: u32,
    tile_begin: u32,
    tile_end: u32,
    column_begin: u32,
    column_end: u32,
    dropout_q_offset: u32,
    dropout_batch_offset: u32,
    dropout_threshold: u32,
    seed_low: u32,
    seed_high: u32,
    keep_scale: f32,
}

/// The operands of the gradients, all f32. Where a key may be hidden or dropped, q, k, v and d_out are [tame](super::tame).
pub(crate) struct AttentionBackward<'a> {
    /// q and d_out `[B,T,H,D]`
    pub(crate) q: Slot<'a>,
    pub(crate) d_out: Slot<'a>,
    /// k and v `[B,S,Hkv,D]`
    pub(crate) k: Slot<'a>,
    pub(crate) v: Slot<'a>,
    /// What [`attention_delta`](super::attention_delta) gives.
    pub(crate) stats: Slot<'a>,
    /// What [`Masks::pack`](crate::mask::Masks::pack) gives.
    pub(crate) masks: (Visibility, Slot<'a>),
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
    /// dq `[B,T,H,D]`
    pub(crate) dq: Slot<'a>,
    /// dk and dv `[B,S,Hkv,D]`
    pub(crate) dk: Slot<'a>,
    pub(crate) dv: Slot<'a>,
}

/// What the rows of a tile are: the one gives dq, the other dk and dv.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Queries,
    Keys,
}

impl Role {
    pub(crate) const ALL: [Role; 2] = [Role::Queries, Role::Keys];

    /// Multiply-adds for a pair of a row and a column, in units of D.
    const fn products(self) -> u64 {
        match self {
            Role::Queries => 3,
            Role::Keys => 4,
        }
    }
}

/// How the kernel is laid out over lanes and registers.
pub(crate) type Form = tuning::Form<Lanes, Infallible>;

/// Lanes in rows × in columns, and what each owns of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lanes {
    row_lanes: u32,
    column_lanes: u32,
    rows: u32,
    /// Groups of four columns.
    column_quads: u32,
    staged: bool,
}

impl Lanes {
    const fn count(&self) -> u32 {
        self.row_lanes * self.column_lanes
    }

    const fn tile_rows(&self) -> u32 {
        self.row_lanes * self.rows
    }

    const fn block(&self) -> u32 {
        self.column_lanes * self.column_quads * 4
    }

    /// Vectors of four of D that a lane owns: more would not stay in registers, and take long to compile.
    fn quads(&self, head_dim: usize) -> u32 {
        (head_dim as u32).div_ceil(4).div_ceil(self.column_lanes).min((48 / self.rows).max(1))
    }

    /// Parts of D that have tiles of their own.
    fn chunks(&self, head_dim: usize) -> u32 {
        (head_dim as u32).div_ceil(4).div_ceil(self.column_lanes * self.quads(head_dim))
    }

    /// Words of the bits of a block.
    fn words(&self, role: Role) -> u32 {
        match role {
            Role::Queries => self.tile_rows() * self.block() / 32,
            Role::Keys => self.block(),
        }
    }

    fn workgroup_bytes(&self, head_dim: usize, role: Role) -> u32 {
        let tiles = 2 * self.tile_rows() * self.block() * 4;
        let stage = if self.staged { self.block() * ((head_dim as u32).div_ceil(4) + 1) * 16 } else { 0 };
        tiles + stage + 2 * 4 * self.words(role) + 16
    }

    /// Loop iterations of one invocation for a block.
    fn iterations(&self, head_dim: usize, role: Role, dropout: bool) -> u32 {
        let (block, quads) = (self.block(), (head_dim as u32).div_ceil(4));
        let loading = if self.staged { 4 * (block * quads).div_ceil(self.count()) } else { 0 };
        let words = self.words(role);
        let kept = if dropout { words.div_ceil(self.count()) * 8 * 11 } else { 0 };
        // Dot products, then what they weigh.
        let elements = (self.tile_rows() * block / 4).div_ceil(self.count()) + block / 4;
        2 * quads + 2 * block / 4 + elements + loading + words + words.div_ceil(self.count()) + kept + 1
    }

    const fn form(self, name: &'static str) -> Form {
        Form { name, layout: Layout::Lanes(self) }
    }
}

const fn direct(name: &'static str, [row_lanes, column_lanes, rows, column_quads]: [u32; 4]) -> Form {
    Lanes { row_lanes, column_lanes, rows, column_quads, staged: false }.form(name)
}

const fn staged(name: &'static str, [row_lanes, column_lanes, rows, column_quads]: [u32; 4]) -> Form {
    Lanes { row_lanes, column_lanes, rows, column_quads, staged: true }.form(name)
}

impl Form {
    const fn lanes(&self) -> &Lanes {
        match &self.layout {
            Layout::Lanes(lanes) => lanes,
            Layout::Matrix(never) => match *never {},
        }
    }

    /// Whether heads of this width run in this form on a device with these limits.
    pub(crate) fn fits(&self, role: Role, head_dim: usize, limits: &wgpu::Limits) -> bool {
        let lanes = self.lanes();
        lanes.count() <= limits.max_compute_invocations_per_workgroup
            && lanes.workgroup_bytes(head_dim, role) <= limits.max_compute_workgroup_storage_size
            && KERNEL.bindings.len() - 1 <= limits.max_storage_buffers_per_shader_stage as usize
    }

    /// Whether it is worth trying for so many rows.
    fn suits(&self, rows: usize, head_dim: usize) -> bool {
        let tile = self.lanes().tile_rows() as usize;
        (rows >= tile.div_ceil(2) || tile <= 4) && (self.lanes().chunks(head_dim) == 1 || head_dim > 256)
    }
}

/// The forms to choose from, in the order in which they are tried: lanes in rows × in columns, and the rows and columns that
/// each owns of a block.
pub(crate) const FORMS: [Form; 8] = [
    // For adapters that are CPUs: a row of lanes is a vector of theirs, and multiply-adds per load decide.
    direct("direct 1x8 lanes of 16x8", [1, 8, 16, 2]),
    direct("direct 1x8 lanes of 8x8", [1, 8, 8, 2]),
    direct("direct 1x8 lanes of 8x16", [1, 8, 8, 4]),
    direct("direct 1x8 lanes of 4x8", [1, 8, 4, 2]),
    // For GPUs.
    staged("staged 8x8 lanes of 2x4", [8, 8, 2, 1]),
    direct("direct 8x8 lanes of 4x4", [8, 8, 4, 1]),
    direct("direct 8x8 lanes of 4x8", [8, 8, 4, 2]),
    // For wide heads.
    direct("direct 4x16 lanes of 4x4", [4, 16, 4, 1]),
];

/// Which run of the kernel: the rows of one batch element and group, and the class of what it depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) dims: Dims,
    pub(crate) visibility: Visibility,
    pub(crate) dropout: bool,
}

impl Shape {
    fn rows(&self, role: Role) -> usize {
        match role {
            Role::Queries => self.dims.query_len * self.dims.group_size(),
            Role::Keys => self.dims.key_len,
        }
    }

    fn class(&self, role: Role) -> Class {
        let dims = &self.dims;
        let columns = match role {
            Role::Queries => dims.key_len,
            Role::Keys => dims.query_len * dims.group_size(),
        };
        Class {
            kernel: KERNEL.name,
            shape: ClassShape {
                types: ["f32", "", ""],
                sizes: [
                    ("D", dims.head_dim as u32),
                    ("rows", size_class(self.rows(role))),
                    ("columns", size_class(columns)),
                    ("heads", size_class(dims.batch * dims.key_heads)),
                    ("", 0),
                ],
                flags: [
                    ("keys", role == Role::Keys),
                    ("causal", self.visibility.is_causal()),
                    ("window", self.visibility.has_window()),
                    ("masked", self.visibility.has_masks()),
                    ("dropout", self.dropout),
                ],
            },
        }
    }

    fn default_form(&self, gpu: &Gpu, role: Role) -> Form {
        let (rows, head_dim) = (self.rows(role), self.dims.head_dim);
        let order: &[usize] = match (gpu.is_cpu(), rows) {
            (true, 0..=4) => &[3],
            (true, 5..=8) => &[1, 3],
            (true, _) => &[0, 1, 3],
            (false, _) => &[4, 5, 7, 3],
        };
        let fits = |&&index: &&usize| {
            FORMS[index].fits(role, head_dim, gpu.limits()) && FORMS[index].lanes().chunks(head_dim) == 1
        };
        FORMS[order.iter().find(fits).copied().unwrap_or(3)]
    }

    /// The form to take; `None` where one that the caller wants does not fit.
    pub(crate) fn form(&self, gpu: &Gpu, role: Role) -> Option<Form> {
        let default = self.default_form(gpu, role);
        Some(tuning::form(gpu, &self.class(role), FORMS.into_iter(), default))
            .filter(|form| form.fits(role, self.dims.head_dim, gpu.limits()))
    }

    /// Measures the candidates on scratch buffers, without masks, if that has not been done. Fewer heads, and then fewer
    /// queries and keys, stand for very many.
    pub(crate) async fn tune(&self, gpu: &Gpu) -> Result<()> {
        for role in Role::ALL {
            self.tune_role(gpu, role).await?;
        }
        Ok(())
    }

    async fn tune_role(&self, gpu: &Gpu, role: Role) -> Result<()> {
        let class = self.class(role);
        if !tuning::is_due(gpu, &class) {
            return Ok(());
        }
        let head_dim = self.dims.head_dim;
        let suiting = FORMS
            .into_iter()
            .filter(|form| form.fits(role, head_dim, gpu.limits()) && form.suits(self.rows(role), head_dim));
        let candidates = tuning::candidates(gpu, Some(self.default_form(gpu, role)), suiting);
        if !tuning::is_open(gpu, &class, &candidates) {
            return Ok(());
        }
        let dims = tuning::smaller(gpu, self.dims, |dims| {
            role.products()
                * (dims.batch * dims.query_heads * dims.query_len * head_dim) as u64
                * dims.key_len as u64
        });
        let queries = (dims.batch * dims.query_len * dims.query_heads) as u64;
        let q_words = queries * head_dim as u64;
        let k_words = (dims.batch * dims.key_len * dims.key_heads * head_dim) as u64;
        let words = [q_words, q_words, k_words, k_words, 2 * queries, 1, q_words, k_words, k_words];
        let [q, d_out, k, v, stats, mask_bits, dq, dk, dv] = tuning::scratch(gpu, words).await?;
        let operands = AttentionBackward {
            q: q.slot(),
            d_out: d_out.slot(),
            k: k.slot(),
            v: v.slot(),
            stats: stats.slot(),
            masks: (self.visibility.without_masks(), mask_bits.slot()),
            scale: 1.0,
            dropout: self.dropout.then_some(Dropout { probability: 0.1, ..Dropout::default() }),
            dq: dq.slot(),
            dk: dk.slot(),
            dv: dv.slot(),
        };
        tuning::tune(gpu, class, &candidates, |pass, form| {
            attention_backward(pass, &dims, &operands, role, form)
        })
        .await
    }
}

fn constants(lanes: &Lanes, head_dim: usize, role: Role, dropout: bool) -> Vec<(&'static str, Constant)> {
    let keys = role == Role::Keys;
    vec![
        ("ROW_LANES", Constant::U32(lanes.row_lanes)),
        ("COLUMN_LANES", Constant::U32(lanes.column_lanes)),
        ("WORKGROUP_SIZE", Constant::U32(lanes.count())),
        ("ROWS", Constant::U32(lanes.rows)),
        ("COLUMN_QUADS", Constant::U32(lanes.column_quads)),
        ("QUADS", Constant::U32(lanes.quads(head_dim))),
        ("STAGED", Constant::Bool(lanes.staged)),
        ("ALIGNED", Constant::Bool(head_dim.is_multiple_of(4))),
        ("HEAD_DIM", Constant::U32(head_dim as u32)),
        ("DROPOUT", Constant::Bool(dropout)),
        ("KEYS", Constant::Bool(keys)),
        // Which sums there are.
        ("RESULT_x", Constant::Bool(true)),
        ("RESULT_y", Constant::Bool(keys)),
    ]
}

/// WGSL of the operands.
fn operands(constants: &Constants) -> String {
    let aligned = is_on("ALIGNED", constants);
    let read = |name, at| operand(name, at, "F32", aligned, constants);
    [
        read("row_x", 1),
        read("row_y", 2),
        read("column_x", 3),
        read("column_y", 4),
        result("result_x", 7, aligned),
        result("result_y", 8, aligned),
    ]
    .concat()
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    let mut all = Vec::new();
    let least = wgpu::Limits::default();
    for (i, form) in FORMS.iter().enumerate() {
        for (j, head_dim) in [64, 1, 129, 252].into_iter().enumerate() {
            for role in Role::ALL {
                if form.fits(role, head_dim, &least) {
                    all.push(constants(form.lanes(), head_dim, role, (i + j) % 2 == 0));
                }
            }
        }
    }
    all
}

/// Records one role: q, k, v, d_out and stats → dq, or dk and dv.
pub(crate) fn attention_backward<'a>(
    pass: &mut Pass<'_>,
    dims: &Dims,
    operands: &AttentionBackward<'a>,
    role: Role,
    form: Form,
) -> Result<()> {
    let &Dims { batch, query_len, key_len, query_heads, key_heads, head_dim } = dims;
    let lanes = form.lanes();
    let group = dims.group_size();
    let (rows, columns, heads) = match role {
        Role::Queries => (query_len * group, key_len, 1),
        Role::Keys => (key_len, query_len, group),
    };
    let constants = constants(lanes, head_dim, role, operands.dropout.is_some());
    let dropout = operands.dropout.unwrap_or_default();
    let chunks = lanes.chunks(head_dim);
    let tiles_row = rows.div_ceil(lanes.tile_rows() as usize);
    let block = lanes.block() as usize;
    let iterations = lanes.iterations(head_dim, role, operands.dropout.is_some()) as usize;
    let step = (LOOP_LIMIT / (iterations * heads)).max(1) * block;
    // A binding that a role does not write still needs a buffer.
    let unused = pass.workspace("unused", 4);
    let limits = pass.gpu().binding_limits();
    let row_bytes = [query_len * query_heads, key_len * key_heads].map(|rows| (rows * head_dim * 4) as u64);
    for (batch_begin, batches) in limits.ranges(batch, &row_bytes) {
        let window = |slot: Slot<'a>, bytes: u64| {
            limits.window(slot, batch_begin as u64 * bytes, batches as u64 * bytes)
        };
        let of_queries = |slot| window(slot, row_bytes[0]).0;
        let of_keys = |slot| window(slot, row_bytes[1]).0;
        let (_, q_shift) = window(operands.q, row_bytes[0]);
        let (_, k_shift) = window(operands.k, row_bytes[1]);
        let (q, d_out) = (of_queries(operands.q), of_queries(operands.d_out));
        let (k, v) = (of_keys(operands.k), of_keys(operands.v));
        let (stats, bits) = (operands.stats, operands.masks.1);
        let slots = match role {
            Role::Queries => [q, d_out, k, v, stats, bits, of_queries(operands.dq), unused.slot()],
            Role::Keys => [k, v, q, d_out, stats, bits, of_keys(operands.dk), of_keys(operands.dv)],
        };
        let tiles = tiles_row as u64 * (key_heads * batches) as u64 * u64::from(chunks);
        for column_begin in (0..columns).step_by(step) {
            let column_end = (column_begin + step).min(columns);
            let pairs = u64::from(lanes.tile_rows()) * ((column_end - column_begin) * heads) as u64;
            for (tile_begin, tile_end) in tile_ranges(tiles, role.products() * pairs * head_dim as u64) {
                let params = Params {
                    visibility: operands.masks.0,
                    query_len: query_len as u32,
                    key_len: key_len as u32,
                    query_heads: query_heads as u32,
                    key_heads: key_heads as u32,
                    scale: operands.scale,
                    batch_begin: batch_begin as u32,
                    q_base: (q_shift / 4) as u32,
                    k_base: (k_shift / 4) as u32,
                    tiles_row: tiles_row as u32,
                    chunks,
                    tile_begin,
                    tile_end,
                    column_begin: column_begin as u32,
                    column_end: column_end as u32,
                    dropout_q_offset: dropout.q_offset,
                    dropout_batch_offset: dropout.batch_offset,
                    dropout_threshold: dropout.threshold(),
                    seed_low: dropout.seed as u32,
                    seed_high: (dropout.seed >> 32) as u32,
                    keep_scale: dropout.keep_scale() as f32,
                };
                let params = Parameters::of(&params, operands.dropout.is_some());
                pass.dispatch(&KERNEL, &constants, params, &slots, u64::from(tile_end - tile_begin))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_forms() {
        for form in FORMS {
            let Lanes { row_lanes, column_lanes, rows, column_quads, staged } = *form.lanes();
            let memory = if staged { "staged" } else { "direct" };
            let expected =
                format!("{memory} {row_lanes}x{column_lanes} lanes of {rows}x{}", 4 * column_quads);
            assert_eq!(form.name, expected);
        }
    }

    #[test]
    fn every_head_has_forms_that_fit_and_tiles_and_blocks_are_parts_of_words_of_bits() {
        let least = wgpu::Limits::default();
        for form in FORMS {
            let lanes = form.lanes();
            assert!(lanes.tile_rows().is_power_of_two() && (4..=32).contains(&lanes.tile_rows()), "{form:?}");
            assert!(lanes.block().is_multiple_of(32));
            let quads = lanes.block() / 4;
            assert!(quads.is_multiple_of(lanes.count()) || lanes.count().is_multiple_of(quads));
        }
        for head_dim in [1, 3, 4, 64, 100, 128, 252, 256, 420, 5000] {
            for role in Role::ALL {
                // What is taken where nothing else is.
                assert!(FORMS[3].fits(role, head_dim, &least), "{head_dim}");
                assert!(FORMS.iter().filter(|form| form.fits(role, head_dim, &least)).count() > 3);
                for form in FORMS {
                    let lanes = form.lanes();
                    let owned = lanes.chunks(head_dim) * lanes.quads(head_dim) * lanes.column_lanes;
                    assert!(owned * 4 >= head_dim as u32, "{form:?} of {head_dim}");
                    assert!(lanes.chunks(64) == 1);
                }
            }
        }
    }
}
