/// Combines attention over parts of the keys into attention over all of them, for one row.
///
/// Each part is `(row_max, row_sum, sums)`: its largest score, Σ exp(score − row_max), and the values weighted by
/// exp(score − row_max), `[D]`. Returns the weighted mean `[D]` times `keep_scale`, and lse: 0 and −inf if no key is visible.
pub fn combine_splits(parts: &[(f64, f64, Vec<f64>)], keep_scale: f64) -> (Vec<f64>, f64) {
    let seen = || parts.iter().filter(|(_, row_sum, _)| *row_sum > 0.0);
    let head_dim = parts.first().map_or(0, |(.., sums)| sums.len());
    let lse = seen().map(|(row_max, row_sum, _)| row_max + row_sum.ln());
    let max = lse.clone().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + lse.map(|lse| (lse - max).exp()).sum::<f64>().ln();
    let mean = |d: usize| seen().map(|(row_max, _, sums)| (row_max - lse).exp() * sums[d]).sum::<f64>();
    ((0..head_dim).map(|d| keep_scale * mean(d)).collect(), if max.is_finite() { lse } else { max })
}
