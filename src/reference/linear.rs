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

/// The gradients dx `[M,K]`, dw `[K,N]` and db `[N]` of `Σ dy ∘ y`, where `y = x · w + bias`.
pub fn linear_backward(x: &[f64], w: &[f64], dy: &[f64], [m, k, n]: [usize; 3]) -> [Vec<f64>; 3] {
    let (mut dx, mut dw, mut db) = (vec![0.0; m * k], vec![0.0; k * n], vec![0.0; n]);
    for row in 0..m {
        for column in 0..n {
            let d = dy[row * n + column];
            db[column] += d;
            for i in 0..k {
                dx[row * k + i] += d * w[i * n + column];
                dw[i * n + column] += d * x[row * k + i];
            }
        }
    }
    [dx, dw, db]
}
