/// The gradients `(d_out, d_z)` of `Σ d_gated ∘ gate ∘ out + Σ (l1 · gate + l2 · gate²)` with respect to out and to z, where
/// gate = sigmoid(z).
pub fn gate_backward(gate: &[f64], out: &[f64], d_gated: &[f64], [l1, l2]: [f64; 2]) -> (Vec<f64>, Vec<f64>) {
    let d_out = gate.iter().zip(d_gated).map(|(gate, d)| gate * d).collect();
    let all = gate.iter().zip(out).zip(d_gated);
    let d_z = all.map(|((gate, out), d)| (d * out + l1 + 2.0 * l2 * gate) * gate * (1.0 - gate));
    (d_out, d_z.collect())
}
