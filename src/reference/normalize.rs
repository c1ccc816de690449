/// The vectors divided by their norms, or by 1e-7 if the norm is smaller: Keras' `normalize`.
pub fn normalize(vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let norm = |vector: &[f64]| vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-7);
    vectors.iter().map(|vector| vector.iter().map(|x| x / norm(vector)).collect()).collect()
}
