//! The kernels: for each `shaders/X.wgsl` its declaration, its sizes and its dispatch, in `X.rs`.

pub(crate) mod adam;
pub(crate) mod attention_backward;
pub(crate) mod attention_delta;
pub(crate) mod attention_forward;
pub(crate) mod attention_forward_matrix;
pub(crate) mod cast;
pub(crate) mod constrain;
pub(crate) mod dropout;
pub(crate) mod find_wild;
pub(crate) mod gate;
pub(crate) mod gate_backward;
pub(crate) mod l1_l2_backward;
pub(crate) mod linear;
pub(crate) mod linear_matrix;
pub(crate) mod merge_splits;
pub(crate) mod normalize;
pub(crate) mod normalize_backward;
pub(crate) mod off_diagonal_sign;
pub(crate) mod pack_mask;
pub(crate) mod peak;
pub(crate) mod scores;
pub(crate) mod sgd;
pub(crate) mod softmax;
pub(crate) mod squared_error_backward;
pub(crate) mod sums;
pub(crate) mod tame;
pub(crate) mod transpose;
pub(crate) mod weighted_values;

#[cfg(test)]
use crate::DType;
#[cfg(test)]
use crate::gpu::{Constant, Kernel, Units};
use crate::gpu::{Gpu, Slot};

#[cfg(test)]
pub(crate) mod tests;

/// Every kernel in data-flow order, with the constants of each of its variants.
#[cfg(test)]
fn all() -> Vec<(&'static Kernel, Vec<Variant>)> {
    vec![
        (&cast::KERNEL, cast::variants()),
        (&linear::KERNEL, linear::variants()),
        (&linear_matrix::KERNEL, linear_matrix::variants()),
        (&pack_mask::KERNEL, pack_mask::variants()),
        (&find_wild::KERNEL, find_wild::variants()),
        (&attention_forward::KERNEL, attention_forward::variants()),
        (&attention_forward_matrix::KERNEL, attention_forward_matrix::variants()),
        (&merge_splits::KERNEL, vec![Vec::new()]),
        (&scores::KERNEL, scores::variants()),
        (&softmax::KERNEL, vec![Vec::new()]),
        (&dropout::KERNEL, vec![Vec::new()]),
        (&weighted_values::KERNEL, weighted_values::variants()),
        (&gate::KERNEL, vec![Vec::new()]),
        (&gate_backward::KERNEL, vec![Vec::new()]),
        (&tame::KERNEL, vec![Vec::new()]),
        (&attention_delta::KERNEL, attention_delta::variants()),
        (&attention_backward::KERNEL, attention_backward::variants()),
        (&squared_error_backward::KERNEL, vec![Vec::new()]),
        (&sums::KERNEL, sums::variants()),
        (&transpose::KERNEL, transpose::variants()),
        (&l1_l2_backward::KERNEL, vec![Vec::new()]),
        (&normalize::KERNEL, vec![Vec::new()]),
        (&off_diagonal_sign::KERNEL, vec![Vec::new()]),
        (&normalize_backward::KERNEL, vec![Vec::new()]),
        (&sgd::KERNEL, sgd::variants()),
        (&adam::KERNEL, adam::variants()),
        (&constrain::KERNEL, constrain::variants()),
        (&peak::KERNEL, peak::variants()),
    ]
}

/// The constants of one variant.
#[cfg(test)]
type Variant = Vec<(&'static str, Constant)>;

const BLOCKS: &str = include_str!("../../shaders/shared/blocks.wgsl");
const ELEMENTS: &str = include_str!("../../shaders/shared/elements.wgsl");
const FUSED: &str = include_str!("../../shaders/shared/fused.wgsl");
const GRID: &str = include_str!("../../shaders/shared/grid.wgsl");
const HALVES: &str = include_str!("../../shaders/shared/halves.wgsl");
const INVERSE_NORM: &str = include_str!("../../shaders/shared/inverse_norm.wgsl");
const PHILOX: &str = include_str!("../../shaders/shared/philox.wgsl");
const PROJECTION: &str = include_str!("../../shaders/shared/projection.wgsl");
const ROUNDING: &str = include_str!("../../shaders/shared/rounding.wgsl");
const WEIGH: &str = include_str!("../../shaders/shared/weigh.wgsl");
const UPDATE: &str = include_str!("../../shaders/shared/update.wgsl");
const VISIBLE: &str = include_str!("../../shaders/shared/visible.wgsl");

/// The float types a kernel can be specialised for.
#[cfg(test)]
const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

/// The kinds of matrix units a kernel can be specialised for.
#[cfg(test)]
const UNITS: [Units; 3] = [
    Units { size: 8, subgroup: 8, parts: 4 },
    Units { size: 16, subgroup: 32, parts: 4 },
    Units { size: 8, subgroup: 32, parts: 4 },
];

/// Rows and columns that one invocation of the register-blocked kernels computes.
const BLOCK: u32 = 8;

/// Results of one workgroup of those kernels: 8 rows × 8 columns of each of 8 lanes.
const TILE_OUTPUTS: u32 = BLOCK * BLOCK * 8;

/// Loop iterations in one dispatch. Mesa 22's lavapipe silently ends loops after 65,535, and no dispatch should run long
/// enough to trip a watchdog. Heads are read in one loop.
const LOOP_LIMIT: usize = crate::shapes::MAX_HEAD_DIM;

/// Multiply-adds in one dispatch: a tenth of a second on an adapter of 80 GFLOP/s, so that no watchdog ends it.
const DISPATCH_WORK: u64 = 1 << 32;

/// Ranges that cover `0..tiles`, each of at most [`DISPATCH_WORK`] multiply-adds or one tile.
fn tile_ranges(tiles: u64, work_per_tile: u64) -> impl Iterator<Item = (u32, u32)> {
    let step = (DISPATCH_WORK / work_per_tile.max(1)).max(1);
    (0..tiles.div_ceil(step)).map(move |i| ((i * step) as u32, ((i + 1) * step).min(tiles) as u32))
}

/// Ranges of at most [`LOOP_LIMIT`] that cover `0..len`.
fn loop_ranges(len: usize) -> impl Iterator<Item = (u32, u32)> {
    (0..len).step_by(LOOP_LIMIT).map(move |begin| (begin as u32, (begin + LOOP_LIMIT).min(len) as u32))
}

/// Windows `(first element, elements, slots)` that cover `count` elements of buffers of f32, each as many as can be bound.
fn element_windows<'a, const N: usize>(
    gpu: &Gpu,
    count: usize,
    slots: [Slot<'a>; N],
) -> impl Iterator<Item = (usize, usize, [Slot<'a>; N])> + use<'a, N> {
    let limits = gpu.binding_limits();
    // Windows begin where bindings can.
    let multiple = (limits.alignment / 4).max(1) as usize;
    limits.ranges_of(multiple, count, &[4]).map(move |(first, count)| {
        let window = |slot| limits.window(slot, first as u64 * 4, count as u64 * 4).0;
        (first, count, slots.map(window))
    })
}

/// Fails where a storage buffer of so many words could not be bound whole.
pub(crate) fn check_binding(
    gpu: &Gpu,
    operation: &'static str,
    argument: &str,
    words: u64,
) -> crate::Result<()> {
    check_limit(operation, argument, words, gpu.binding_limits().bytes)
}

/// Fails where a storage buffer of so many words would be larger than the adapter allows.
pub(crate) fn check_words(
    gpu: &Gpu,
    operation: &'static str,
    argument: &str,
    words: u64,
) -> crate::Result<()> {
    check_limit(operation, argument, words, gpu.max_tensor_bytes())
}

fn check_limit(operation: &'static str, argument: &str, words: u64, limit: u64) -> crate::Result<()> {
    let bytes = words.saturating_mul(4);
    if bytes > limit {
        return Err(crate::Error::TooLarge { operation, argument: argument.into(), bytes, limit });
    }
    Ok(())
}
