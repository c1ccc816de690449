/// The sums over an invocation's `accumulators` · 4 numbers, each after `steps` times a = a · scale + offset.
pub fn fma_peak(length: usize, accumulators: usize, steps: usize, scale: f64, offset: f64) -> Vec<f64> {
    let start =
        |i: usize, j: usize, component: usize| component as f64 * 0.25 + ((i + 8 * j) % 64) as f64 / 64.0;
    let end = |a: f64| (0..steps).fold(a, |a, _| a * scale + offset);
    let numbers = |i: usize| {
        (0..accumulators).flat_map(move |j| (0..4).map(move |component| end(start(i, j, component))))
    };
    (0..length).map(|i| numbers(i).sum()).collect()
}
