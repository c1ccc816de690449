/// The values, with 0 for those that are NaN or infinite.
pub fn zero_nonfinite(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| if x.is_finite() { x } else { 0.0 }).collect()
}
