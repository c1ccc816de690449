use super::{linear, normalize, transpose};
use crate::{OrthogonalMode, Regularizer};

/// The penalty on x; for an orthogonal regularizer x is a matrix `[rows,columns]`. One that is not Keras' own gives 0.
pub fn regularizer_loss(regularizer: &Regularizer, x: &[f64], [rows, columns]: [usize; 2]) -> f64 {
    let magnitudes: f64 = x.iter().map(|x| x.abs()).sum();
    let squares: f64 = x.iter().map(|x| x * x).sum();
    match *regularizer {
        Regularizer::L1 { l1 } => l1 * magnitudes,
        Regularizer::L2 { l2 } => l2 * squares,
        Regularizer::L1L2 { l1, l2 } => l1 * magnitudes + l2 * squares,
        Regularizer::Orthogonal { factor, mode } => {
            let (vectors, count, length) = match mode {
                OrthogonalMode::Rows => (x.to_vec(), rows, columns),
                OrthogonalMode::Columns => (transpose(x, [rows, columns]), columns, rows),
            };
            if count < 2 {
                return 0.0;
            }
            let vectors: Vec<_> = vectors.chunks(length).map(<[f64]>::to_vec).collect();
            let n = normalize(&vectors).concat();
            let p = linear(&n, &transpose(&n, [count, length]), None, [count, length, count]);
            let off_diagonal = |(i, p): (usize, &f64)| if i / count == i % count { 0.0 } else { p.abs() };
            let pairs = (count * (count - 1)) as f64 / 2.0;
            factor * 0.5 * p.iter().enumerate().map(off_diagonal).sum::<f64>() / pairs
        }
        Regularizer::Other { .. } => 0.0,
    }
}
