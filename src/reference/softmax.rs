use crate::Array;

/// Softmax over the last axis, and lse = ln Σ exp(score). A row of −inf alone gives zeros and lse −inf.
pub fn softmax(scores: &Array<f64>) -> (Array<f64>, Vec<f64>) {
    let mut probs = scores.clone();
    let mut lse = Vec::new();
    let length = scores.shape().last().copied().unwrap_or(1).max(1);
    for row in probs.data_mut().chunks_mut(length) {
        if row.iter().all(|&score| score == f64::NEG_INFINITY) {
            row.fill(0.0);
            lse.push(f64::NEG_INFINITY);
            continue;
        }
        let row_max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let row_sum: f64 = row.iter().map(|score| (score - row_max).exp()).sum();
        row.iter_mut().for_each(|score| *score = (*score - row_max).exp() / row_sum);
        lse.push(row_max + row_sum.ln());
    }
    (probs, lse)
}
