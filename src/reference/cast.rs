use crate::{Array, DType};

/// Each value rounded to `dtype`.
pub fn cast(x: &Array<f64>, dtype: DType) -> Array<f64> {
    x.map(|&x| f64::from(dtype.round(x as f32)))
}
