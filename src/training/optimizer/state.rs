//! What an optimizer knows of the past, to be kept in a checkpoint.

use std::collections::BTreeMap;

use super::rule::Optimizer;
use crate::named_tensor::{NamedTensor, TensorData};
use crate::{Array, DType, Error, Gpu, Result, Tensor};

const OPERATION: &str = "Optimizer::load_state";

/// The name of the number of iterations.
const ITERATIONS: &str = "iterations";

/// The count of iterations is kept as two f32: this many times the second, plus the first. Both are exact up to 2⁴⁸.
const HIGH: u64 = 1 << 24;

impl Optimizer {
    /// The iterations and the slots so far: `iterations` `[2]`, and such as `query/kernel/momentum` in the variable's shape.
    /// Waits for the GPU. Their arrays can go into a safetensors file with [`write_tensors`](crate::keras::write_tensors), as in
    /// the example `recall`, and what [`read_tensors`](crate::keras::read_tensors) gives of it is a state again.
    pub async fn state(&self) -> Result<Vec<NamedTensor>> {
        let float =
            |name: String, array| NamedTensor { name, dtype: DType::F32, data: TensorData::Float(array) };
        let iterations = [(self.iterations % HIGH) as f32, (self.iterations / HIGH) as f32];
        let mut state = vec![float(ITERATIONS.into(), Array::new([2], iterations)?)];
        for (parameter, slots) in &self.slots {
            for (slot, name) in slots.iter().zip(self.slot_names()) {
                state.push(float(format!("{parameter}/{name}"), slot.to_array().await?));
            }
        }
        Ok(state)
    }

    /// Takes up the [`state`](Self::state) of an optimizer of the same kind, in place of its own.
    ///
    /// Fails, naming the tensor, where one is missing, unknown or no number; the optimizer is then as it was. Shapes are
    /// checked by the next step.
    pub async fn load_state(&mut self, gpu: &Gpu, state: &[NamedTensor]) -> Result<()> {
        let names = self.slot_names();
        let mut iterations = None;
        let mut found: BTreeMap<&str, Vec<Option<Tensor>>> = BTreeMap::new();
        for tensor in state {
            let array = tensor.clone().into_float()?;
            if tensor.name == ITERATIONS {
                iterations = Some(read_iterations(&array)?);
                continue;
            }
            let slot = tensor.name.rsplit_once('/').and_then(|(parameter, name)| {
                Some((parameter, names.iter().position(|&known| known == name)?))
            });
            let Some((parameter, index)) = slot else {
                let known = names.iter().map(|name| format!("…/{name}"));
                let known = known.chain([ITERATIONS.to_string()]).collect();
                return Err(Error::UnknownTensor { operation: OPERATION, name: tensor.name.clone(), known });
            };
            let slots = found.entry(parameter).or_insert_with(|| vec![None; names.len()]);
            slots[index] = Some(Tensor::from_array(gpu, &array, DType::F32).await?);
        }
        let missing = |name: String| {
            let found = state.iter().map(|tensor| tensor.name.clone()).collect();
            Error::MissingTensor { operation: OPERATION, name, found }
        };
        let iterations = iterations.ok_or_else(|| missing(ITERATIONS.into()))?;
        let mut slots = BTreeMap::new();
        for (parameter, tensors) in found {
            let tensors = tensors.into_iter().zip(names);
            let tensors =
                tensors.map(|(slot, name)| slot.ok_or_else(|| missing(format!("{parameter}/{name}"))));
            slots.insert(parameter.to_string(), tensors.collect::<Result<_>>()?);
        }
        (self.iterations, self.slots) = (iterations, slots);
        Ok(())
    }
}

fn read_iterations(array: &Array) -> Result<u64> {
    let whole = |x: f32| (x >= 0.0 && x < HIGH as f32 && x.fract() == 0.0).then_some(x as u64);
    let read = match array.data() {
        &[low, high] => whole(low).zip(whole(high)).map(|(low, high)| low + HIGH * high),
        _ => None,
    };
    let expected = format!("two whole numbers from 0 to {}", HIGH - 1);
    read.ok_or_else(|| Error::argument(OPERATION, ITERATIONS, expected, format!("{array:?}")))
}
