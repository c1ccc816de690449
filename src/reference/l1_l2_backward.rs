/// The gradient of `l1 · Σ|x| + l2 · Σx²`, which is taken to be 0 where x is 0.
pub fn l1_l2_backward(x: &[f64], l1: f64, l2: f64) -> Vec<f64> {
    let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
    x.iter().map(|&x| l1 * sign(x) + 2.0 * l2 * x).collect()
}
