/// `y[c,r] = x[r,c]` for x `[rows,columns]`.
pub fn transpose(x: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}
