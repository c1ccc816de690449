/// The mean of (output − target)², and its gradient for output.
pub fn squared_error_backward(output: &[f64], target: &[f64]) -> (f64, Vec<f64>) {
    let count = output.len() as f64;
    let errors = || output.iter().zip(target).map(|(output, target)| output - target);
    (errors().map(|error| error * error).sum::<f64>() / count, errors().map(|e| 2.0 * e / count).collect())
}
