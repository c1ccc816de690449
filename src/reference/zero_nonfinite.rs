/// The values, with non-finite ones replaced by 0.
pub fn zero_nonfinite(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| if x.is_finite() { x } else { 0.0 }).collect()
}
