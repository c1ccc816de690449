use super::{l1_l2_backward, linear, normalize, normalize_backward, off_diagonal_sign, transpose};
use crate::{OrthogonalMode, Regularizer};

/// The penalty on x. For an orthogonal regularizer x is a matrix `[rows,columns]`. Regularizers that are not Keras' own give 0.
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

/// The gradient of [`regularizer_loss`] for x.
pub fn regularizer_backward(regularizer: &Regularizer, x: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    match *regularizer {
        Regularizer::L1 { l1 } => l1_l2_backward(x, l1, 0.0),
        Regularizer::L2 { l2 } => l1_l2_backward(x, 0.0, l2),
        Regularizer::L1L2 { l1, l2 } => l1_l2_backward(x, l1, l2),
        Regularizer::Orthogonal { factor, mode: OrthogonalMode::Columns } => {
            let regularizer = Regularizer::Orthogonal { factor, mode: OrthogonalMode::Rows };
            let gradient =
                regularizer_backward(&regularizer, &transpose(x, [rows, columns]), [columns, rows]);
            transpose(&gradient, [columns, rows])
        }
        Regularizer::Orthogonal { factor, mode: OrthogonalMode::Rows } if rows > 1 => {
            let vectors: Vec<_> = x.chunks(columns).map(<[f64]>::to_vec).collect();
            let n = normalize(&vectors).concat();
            let p = linear(&n, &transpose(&n, [rows, columns]), None, [rows, columns, rows]);
            let pairs = (rows * (rows - 1)) as f64 / 2.0;
            // Each p[i,j] counts for row i and for row j.
            let dp = off_diagonal_sign(&p, rows, 2.0 * factor * 0.5 / pairs);
            let dn = linear(&dp, &n, None, [rows, rows, columns]);
            vectors.iter().zip(dn.chunks(columns)).flat_map(|(x, dn)| normalize_backward(x, dn)).collect()
        }
        Regularizer::Orthogonal { .. } | Regularizer::Other { .. } => vec![0.0; x.len()],
    }
}
