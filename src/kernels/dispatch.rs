//! Splits work over dispatches: by loop iterations, by multiply-adds, and by the size of a binding.

use crate::gpu::{BufferRange, Gpu};

/// The most loop iterations in one dispatch. Mesa 22's lavapipe silently ends loops after 65,535, and no dispatch should run
/// long enough to trip a watchdog. One loop covers a head's width.
pub(crate) const LOOP_LIMIT: usize = crate::shapes::MAX_HEAD_DIM;

/// The most multiply-adds in one dispatch: a tenth of a second on an adapter of 80 GFLOP/s, so that no watchdog ends it.
pub(crate) const DISPATCH_WORK: u64 = 1 << 32;

/// Ranges that cover `0..tiles`, each of at most [`DISPATCH_WORK`] multiply-adds or one tile.
pub(crate) fn tile_ranges(tiles: u64, work_per_tile: u64) -> impl Iterator<Item = (u32, u32)> {
    let step = (DISPATCH_WORK / work_per_tile.max(1)).max(1);
    (0..tiles.div_ceil(step)).map(move |i| ((i * step) as u32, ((i + 1) * step).min(tiles) as u32))
}

/// Ranges of at most [`LOOP_LIMIT`] that cover `0..len`.
pub(crate) fn loop_ranges(len: usize) -> impl Iterator<Item = (u32, u32)> {
    (0..len).step_by(LOOP_LIMIT).map(move |begin| (begin as u32, (begin + LOOP_LIMIT).min(len) as u32))
}

/// Windows `(first element, elements, ranges)` that cover `count` elements of f32 buffers, each as large as a binding allows.
pub(crate) fn element_windows<'a, const N: usize>(
    gpu: &Gpu,
    count: usize,
    ranges: [BufferRange<'a>; N],
) -> impl Iterator<Item = (usize, usize, [BufferRange<'a>; N])> + use<'a, N> {
    let limits = gpu.binding_limits();
    // Windows begin at aligned offsets.
    let multiple = (limits.alignment / 4).max(1) as usize;
    limits.ranges_of(multiple, count, &[4]).map(move |(first, count)| {
        let window = |range| limits.window(range, first as u64 * 4, count as u64 * 4).0;
        (first, count, ranges.map(window))
    })
}
