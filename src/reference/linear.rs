/// `y[m,n] = Σ_k x[m,k] · w[k,n] + bias[n]` for x `[M,K]`, w `[K,N]`, bias `[N]`.
pub fn linear(x: &[f64], w: &[f64], bias: Option<&[f64]>, [m, k, n]: [usize; 3]) -> Vec<f64> {
    let mut y = Vec::with_capacity(m * n);
    for row in 0..m {
        for column in 0..n {
            let sum: f64 = (0..k).map(|i| x[row * k + i] * w[i * n + column]).sum();
            y.push(sum + bias.map_or(0.0, |bias| bias[column]));
        }
    }
    y
}

/// `y = sigmoid(x · w + bias) ∘ multiplicand`, multiplicand `[M,N]`.
pub fn gated_linear(
    x: &[f64],
    w: &[f64],
    bias: Option<&[f64]>,
    multiplicand: &[f64],
    sizes: [usize; 3],
) -> Vec<f64> {
    let gate = linear(x, w, bias, sizes);
    gate.iter().zip(multiplicand).map(|(z, other)| other / (1.0 + (-z).exp())).collect()
}
