use crate::{Array, Constraint};

/// Keras' backend epsilon.
const EPSILON: f64 = 1e-7;

/// Applies a constraint to `w`; one that is not Keras' own changes nothing. Axes must be within the shape.
pub fn constrain(w: &Array<f64>, constraint: &Constraint) -> Array<f64> {
    let scaled = |axis: &[i64], desired: &dyn Fn(f64) -> f64| {
        let norms = norms(w, axis);
        Array::from_fn(w.shape(), |i| w.data()[i] * (desired(norms[i]) / (EPSILON + norms[i])))
    };
    let clip = |norm: f64, low: f64, high: f64| norm.max(low).min(high);
    match constraint {
        Constraint::MaxNorm { max_value, axis } => scaled(axis, &|norm| clip(norm, 0.0, *max_value)),
        Constraint::MinMaxNorm { min_value, max_value, rate, axis } => {
            scaled(axis, &|norm| rate * clip(norm, *min_value, *max_value) + (1.0 - rate) * norm)
        }
        Constraint::UnitNorm { axis } => scaled(axis, &|_| 1.0),
        Constraint::NonNeg => w.map(|&w| w.max(0.0)),
        Constraint::Other { .. } => w.clone(),
    }
}

/// For each element, the norm over these axes of the vector that contains it.
fn norms(w: &Array<f64>, axis: &[i64]) -> Vec<f64> {
    let (shape, rank) = (w.shape(), w.shape().len() as i64);
    let reduced: Vec<i64> = axis.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
    let vector_of = |i: usize| {
        let mut rest = i;
        let mut index: Vec<usize> = shape
            .iter()
            .rev()
            .map(|&length| {
                let at = rest % length;
                rest /= length;
                at
            })
            .collect();
        index.reverse();
        reduced.iter().for_each(|&axis| index[axis as usize] = 0);
        index
    };
    let vectors: Vec<_> = (0..w.data().len()).map(vector_of).collect();
    let mut squares = std::collections::HashMap::new();
    for (vector, w) in vectors.iter().zip(w.data()) {
        *squares.entry(vector).or_insert(0.0) += w * w;
    }
    vectors.iter().map(|vector| squares[vector].sqrt()).collect()
}
