//! Random orthogonal matrices.

use super::OPERATION;
use super::random::Random;
use crate::{Error, Result};

/// The elements of a weight of this shape, row-major, as a matrix with orthonormal columns (or rows, where there are
/// fewer of them). All axes but the last make its rows.
pub(super) fn orthogonal(shape: &[usize], random: &mut Random) -> Result<Vec<f64>> {
    let [rows @ .., cols] = shape else {
        return refuse(shape);
    };
    if rows.is_empty() {
        return refuse(shape);
    }
    if shape.contains(&0) {
        return Ok(Vec::new());
    }
    let (rows, cols) = (rows.iter().product::<usize>(), *cols);
    let (long, short) = (rows.max(cols), rows.min(cols));
    // Vector i is column i of Keras' `long` × `short` matrix, which it fills row by row.
    let mut vectors = vec![vec![0.0; long]; short];
    for j in 0..long {
        for vector in &mut vectors {
            vector[j] = random.normal();
        }
    }
    orthonormalize(&mut vectors);
    let element = |row: usize, col: usize| if rows < cols { vectors[row][col] } else { vectors[col][row] };
    Ok((0..rows * cols).map(|i| element(i / cols, i % cols)).collect())
}

fn refuse<T>(shape: &[usize]) -> Result<T> {
    Err(Error::argument(OPERATION, "shape", "of two axes or more for Orthogonal", format!("{shape:?}")))
}

/// Makes the vectors orthonormal without changing what the first 1, 2, 3 .. of them span.
///
/// ```text
/// for each vector v:
///     twice: for each u before it: v −= (u·v) u
///     v /= |v|
/// ```
///
/// This is the Q of the QR factorization whose R has a positive diagonal, which is the one that Keras' sign fix picks.
/// The second pass makes the result orthogonal to rounding whatever the vectors were.
fn orthonormalize(vectors: &mut [Vec<f64>]) {
    for i in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(i);
        let Some(v) = rest.first_mut() else { return };
        for u in before.iter().chain(before.iter()) {
            let scale = dot(u, v);
            v.iter_mut().zip(u).for_each(|(v, u)| *v -= scale * u);
        }
        let norm = dot(v, v).sqrt();
        if norm > 0.0 {
            v.iter_mut().for_each(|v| *v /= norm);
        }
    }
}

/// The inner product, summed in eight parts so that the compiler can use vector instructions.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    rest + sums.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthonormalizing_is_qr_with_a_positive_diagonal() {
        // q, r = numpy.linalg.qr(columns); q * sign(diag(r))
        let mut columns =
            vec![vec![1.0, -2.0, 2.0, 4.0], vec![3.0, 1.0, -1.0, 0.5], vec![0.0, 2.0, 5.0, -3.0]];
        orthonormalize(&mut columns);
        let expected = [
            [0.2, -0.4, 0.4, 0.8],
            [0.884074582812458, 0.32256775318833, -0.32256775318833, 0.101549107485215],
            [0.230896517402241, 0.326575205005523, 0.857637195030678, -0.323255124363138],
        ];
        for (column, expected) in columns.iter().zip(expected) {
            for (x, y) in column.iter().zip(expected) {
                assert!((x - y).abs() < 1e-12, "{columns:?}");
            }
        }
    }

    #[test]
    fn nearly_parallel_vectors_still_become_orthogonal() {
        let mut vectors = vec![vec![1.0, 1e-9, 0.0], vec![1.0, 0.0, 1e-9], vec![1.0, 1e-9, 1e-9]];
        orthonormalize(&mut vectors);
        for i in 0..3 {
            for j in 0..3 {
                let expected = f64::from(i == j);
                assert!((dot(&vectors[i], &vectors[j]) - expected).abs() < 1e-14, "{vectors:?}");
            }
        }
    }

    #[test]
    fn columns_or_rows_are_orthonormal() -> Result<()> {
        for shape in [&[6, 4, 9][..], &[2, 3, 17], &[5, 5], &[1, 7], &[7, 1], &[3, 0]] {
            let cols = shape[shape.len() - 1];
            let matrix = orthogonal(shape, &mut Random::new(7, 0))?;
            let rows = matrix.len().checked_div(cols).unwrap_or(0);
            // Of the vectors along the longer side, the inner products.
            let (count, length) = (rows.min(cols), rows.max(cols));
            let at =
                |i: usize, k: usize| if rows < cols { matrix[i * cols + k] } else { matrix[k * cols + i] };
            for i in 0..count {
                for j in 0..count {
                    let product: f64 = (0..length).map(|k| at(i, k) * at(j, k)).sum();
                    assert!((product - f64::from(i == j)).abs() < 1e-13, "{shape:?}: {i} {j} {product}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn fewer_than_two_axes_are_refused() {
        for shape in [&[][..], &[5]] {
            let error = orthogonal(shape, &mut Random::new(7, 0));
            assert!(matches!(error, Err(Error::Argument { ref argument, .. }) if argument == "shape"));
        }
    }
}
