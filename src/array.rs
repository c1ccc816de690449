//! Host arrays: a shape and its elements.

use crate::{Error, Result};

/// A row-major array on the host.
///
/// Weights and readback use `Array<f32>`, which holds f16 and bf16 values exactly; the
/// [reference](crate::reference) computes on `Array<f64>`; masks are `Array<bool>`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Array<T = f32> {
    shape: Vec<usize>,
    data: Vec<T>,
}

impl<T> Array<T> {
    /// An array of this shape over these elements, row-major. Fails where their counts differ.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Vec<T>>) -> Result<Self> {
        let (shape, data) = (shape.into(), data.into());
        if element_count(&shape) != Some(data.len()) {
            return Err(Error::argument(
                "Array::new",
                "data",
                format!("as many elements as the shape {shape:?} has"),
                format!("{} elements", data.len()),
            ));
        }
        Ok(Self { shape, data })
    }

    /// An array whose element at each row-major index is `f(index)`.
    pub fn from_fn(shape: impl Into<Vec<usize>>, f: impl FnMut(usize) -> T) -> Self {
        let shape = shape.into();
        let data = (0..shape.iter().product()).map(f).collect();
        Self { shape, data }
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The elements, row-major, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The elements, row-major, without the shape.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// The array with `f` applied to each element.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Array<U> {
        Array { shape: self.shape.clone(), data: self.data.iter().map(f).collect() }
    }
}

impl Array<f32> {
    /// The same values in double precision.
    pub fn to_f64(&self) -> Array<f64> {
        self.map(|&x| f64::from(x))
    }
}

/// How many elements a shape has; `None` past `usize`.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n))
}
