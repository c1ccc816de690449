/// `gate = sigmoid(z)` and `gated = gate ∘ out`.
pub fn gate(z: &[f64], out: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let gate: Vec<f64> = z.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect();
    let gated = gate.iter().zip(out).map(|(gate, out)| gate * out).collect();
    (gate, gated)
}
