/// `factor · sign(p)` off the diagonal of p `[size,size]`, 0 on it.
pub fn off_diagonal_sign(p: &[f64], size: usize, factor: f64) -> Vec<f64> {
    let sign = |(i, &p): (usize, &f64)| {
        let (row, column) = (i / size, i % size);
        if row == column || p == 0.0 { 0.0 } else { factor * p.signum() }
    };
    p.iter().enumerate().map(sign).collect()
}
