//! What the tests of kernels share: tensors and what the reference sees of them, runs, checks.

use crate::attention::{AttentionMasks, MaskLayout};
use crate::gpu::Pass;
use crate::kernels::attention::problem::Problem;
use crate::kernels::attention::score::Score;
use crate::kernels::attention::visible::Visibility;
use crate::reference;
use crate::shapes::{Dims, Queries};
pub(crate) use crate::testing::compare::compare;
pub(super) use crate::testing::sampler::{CaseSampler, Extent};
use crate::{Array, DType, Dropout, Gpu, Tensor};

pub(crate) const POISON: f32 = 7.0e33;

pub(crate) fn gpu() -> Gpu {
    pollster::block_on(Gpu::from_env()).expect("the tests need an adapter")
}

/// Values in [−1, 1) that follow from their index.
pub(crate) fn values(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|i| crate::philox4x32_10([i, seed, 0, 0], [1, 2])[0] as f32 / 2_147_483_648.0 - 1.0)
        .collect()
}

pub(crate) fn bools(shape: &[usize], seed: u32) -> Array<bool> {
    let noise = values(shape.iter().product(), seed);
    Array::from_fn(shape, |i| noise[i] > -0.3)
}

/// The values as a tensor of this type, and as the reference sees them.
pub(crate) fn tensor(gpu: &Gpu, shape: &[usize], data: Vec<f32>, dtype: DType) -> (Tensor, Array<f64>) {
    let array = Array::new(shape, data).unwrap();
    let tensor = pollster::block_on(Tensor::from_array(gpu, &array, dtype)).unwrap();
    (tensor, reference::cast(&array.to_f64(), dtype))
}

pub(crate) fn poisoned(gpu: &Gpu, shape: &[usize], dtype: DType) -> Tensor {
    tensor(gpu, shape, vec![POISON; shape.iter().product()], dtype).0
}

pub(crate) fn run(gpu: &Gpu, record: impl FnOnce(&mut Pass<'_>) -> crate::Result<()>) {
    pollster::block_on(gpu.submit("test", record)).unwrap();
}

pub(crate) fn read(tensor: &Tensor) -> Vec<f64> {
    pollster::block_on(tensor.to_array()).unwrap().to_f64().into_data()
}

pub(crate) fn check(what: &str, got: &Tensor, expected: &[f64], tolerance: f64) {
    compare(what, &read(got), expected, tolerance).unwrap();
}

/// B, T, S, H, Hkv, D
pub(crate) const DIMS: [[usize; 6]; 8] = [
    [1, 1, 1, 1, 1, 1],
    [2, 3, 5, 4, 2, 7],
    [1, 9, 65, 6, 2, 16],
    [2, 17, 64, 3, 1, 33],
    [1, 1, 300, 8, 2, 64],
    [3, 8, 8, 5, 5, 65],
    [1, 33, 7, 9, 3, 12],
    [1, 2, 130, 2, 2, 129],
];

pub(crate) fn dims([batch, query_len, key_len, query_heads, key_heads, head_dim]: [usize; 6]) -> Dims {
    Dims { batch, query_len, key_len, query_heads, key_heads, head_dim }
}

/// All queries at once, and in two ranges.
pub(crate) fn ranges(t: usize) -> Vec<Queries> {
    let middle = t.div_ceil(3);
    let parts = [(0, t), (0, middle), (middle, t - middle)];
    let ranges = parts.map(|(begin, count)| Queries { begin, count });
    ranges.into_iter().filter(|queries| queries.count > 0).collect()
}

/// The rows of these queries of an array `[B,H,T,…]` whose queries have `width` elements.
pub(crate) fn rows_of(all: &[f64], t: usize, width: usize, queries: Queries) -> Vec<f64> {
    let (begin, count) = (queries.begin * width, queries.count * width);
    all.chunks(t * width).flat_map(|head| &head[begin..begin + count]).copied().collect()
}

/// Overwrites a tensor of f32, so that the next run can't pass on what the last one left.
pub(crate) fn poison(tensor: &Tensor) {
    let count = tensor.shape().iter().product();
    tensor.gpu().queue().write_buffer(
        tensor.buffer(),
        tensor.offset(),
        bytemuck::cast_slice(&vec![POISON; count]),
    );
}

/// The masks on the GPU: attention, query, value, key.
pub(super) fn mask_tensors(gpu: &Gpu, visibility: &reference::Visibility<'_>) -> [Option<Tensor>; 4] {
    let reference::Visibility { attention_mask, query_mask, value_mask, key_mask, .. } = *visibility;
    [attention_mask, query_mask, value_mask, key_mask]
        .map(|mask| mask.map(|mask| pollster::block_on(Tensor::from_mask(gpu, mask)).unwrap()))
}

/// A problem with this visibility and these masks, and how those are laid out; with bits of non-finite keys where something
/// may hide a key.
pub(super) fn problem<'a>(
    gpu: &Gpu,
    dims: Dims,
    visibility: &reference::Visibility<'_>,
    masks: &'a [Option<Tensor>; 4],
    scale: f32,
    dropout: Option<Dropout>,
) -> (Problem, MaskLayout<'a>) {
    let [attention_mask, query_mask, value_mask, key_mask] = masks.each_ref().map(Option::as_ref);
    let masks = AttentionMasks { attention_mask, query_mask, value_mask, key_mask };
    let window = visibility.window.map_or(0, |window| window as u32);
    let positions = Visibility::of_positions(visibility.causal, visibility.q_offset as u32, window);
    let mut layout = MaskLayout::new("test", gpu, masks, positions, &dims).unwrap();
    if layout.visibility.hides() || dropout.is_some() {
        layout = layout.with_nonfinite_keys(&dims);
    }
    (Problem { dims, visibility: layout.visibility, score: Score::scaled(scale), dropout }, layout)
}

/// A problem in which every query sees every key.
pub(super) fn plain(dims: Dims, dropout: Option<Dropout>) -> Problem {
    Problem { dims, visibility: Visibility::default(), score: Score::scaled(1.0), dropout }
}
