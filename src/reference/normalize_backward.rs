/// The gradient for x of `Σ dn · normalize(x)`, for one vector x.
pub fn normalize_backward(x: &[f64], dn: &[f64]) -> Vec<f64> {
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm < 1e-7 {
        return dn.iter().map(|dn| dn / 1e-7).collect();
    }
    let dot: f64 = x.iter().zip(dn).map(|(x, dn)| x * dn).sum();
    x.iter().zip(dn).map(|(x, dn)| dn / norm - x * dot / norm.powi(3)).collect()
}
