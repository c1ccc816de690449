//! The penalties of the layer's regularizers on its weights and activities, and their gradients.

use super::tape::Tape;
use crate::gpu::{BufferRange, Pass};
use crate::kernels::elementwise::cast::Converted;
use crate::shapes::Dims;
use crate::training::regularizer::{Penalized, record_gradient, record_loss};
use crate::{DType, GroupedQueryAttention, Regularizer, Result, Tensor, Weights};

const OPERATION: &str = "GroupedQueryAttention::call_with_tape";

impl GroupedQueryAttention {
    /// The penalty on the weight of this name.
    fn regularizer_of(&self, name: &str) -> Option<&Regularizer> {
        if !self.config.trainable {
            return None;
        }
        if name.ends_with("/kernel") {
            self.config.kernel_regularizer.as_ref()
        } else {
            self.config.bias_regularizer.as_ref()
        }
    }

    /// Fails if a regularizer can't be applied.
    pub(super) fn check_penalties(&self) -> Result<()> {
        for (name, variable) in self.variables().named() {
            if let Some(regularizer) = self.regularizer_of(&name) {
                regularizer.check_for(&Penalized::weight(&name, variable.range(), variable.shape()))?;
            }
        }
        if let Some(regularizer) = &self.config.activity_regularizer {
            let x = self.weights.query.kernel.range();
            regularizer.check_for(&Penalized { name: "activity", x, shape: &[0; 4], row_axes: None })?;
        }
        Ok(())
    }
}

impl Tape<'_> {
    /// The activities that the activity regularizer penalizes: range, elements, and how often each counts.
    fn activities<'s>(&'s self, output: BufferRange<'s>) -> Vec<(BufferRange<'s>, usize, f32)> {
        let &Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } =
            &self.kept.problem.dims;
        let kept = &self.kept;
        let mut all = vec![
            (kept.q.range(), b * t * h * d, 1.0),
            (kept.k.range(), b * s * hkv * d, 1.0),
            (kept.v.range(), b * s * hkv * d, 1.0),
        ];
        all.extend(kept.gate.as_ref().map(|gate| (gate.gate.range(), b * t * h * d, 1.0)));
        all.push((output, b * t * self.layer.widths.query, 2.0));
        all
    }

    /// Records the sum of all penalties.
    pub(super) fn record_penalties(&self, pass: &mut Pass<'_>) -> Result<Option<Tensor>> {
        let (layer, gpu) = (self.layer, pass.gpu());
        let config = &layer.config;
        let of_weights =
            config.trainable && (config.kernel_regularizer.is_some() || config.bias_regularizer.is_some());
        if !of_weights && config.activity_regularizer.is_none() {
            return Ok(None);
        }
        let loss = Tensor::output(gpu, OPERATION, vec![1], DType::F32)?;
        loss.write_zeros();
        for (name, variable) in layer.variables().named() {
            if let Some(regularizer) = layer.regularizer_of(&name) {
                let x = Converted::new(pass, variable, DType::F32)?;
                let penalized = Penalized::weight(&name, x.range(), variable.shape());
                record_loss(pass, regularizer, &penalized, 1.0, loss.range())?;
            }
        }
        if let Some(regularizer) = &config.activity_regularizer {
            let output = Converted::new(pass, &self.output, DType::F32)?;
            for (x, count, times) in self.activities(output.range()) {
                let penalized = Penalized { name: "activity", x, shape: &[count], row_axes: None };
                record_loss(
                    pass,
                    regularizer,
                    &penalized,
                    times / self.kept.problem.dims.batch as f32,
                    loss.range(),
                )?;
            }
        }
        Ok(Some(loss))
    }

    /// Records the gradients of the penalties on weights, added to those of the weights.
    pub(super) fn penalize_weights(&self, pass: &mut Pass<'_>, gradients: &Weights<Tensor>) -> Result<()> {
        let variables = self.layer.variables().named();
        for ((name, variable), (_, gradient)) in variables.into_iter().zip(gradients.named()) {
            if let Some(regularizer) = self.layer.regularizer_of(&name) {
                let x = Converted::new(pass, variable, DType::F32)?;
                let penalized = Penalized::weight(&name, x.range(), variable.shape());
                record_gradient(pass, regularizer, &penalized, 1.0, gradient.range())?;
            }
        }
        Ok(())
    }

    /// Records gradient += the gradient of the activity regularizer for x `[count]`.
    pub(super) fn penalize(
        &self,
        pass: &mut Pass<'_>,
        (x, gradient): (BufferRange<'_>, BufferRange<'_>),
        count: usize,
        times: f32,
    ) -> Result<()> {
        let Some(regularizer) = &self.layer.config.activity_regularizer else { return Ok(()) };
        let penalized = Penalized { name: "activity", x, shape: &[count], row_axes: None };
        record_gradient(pass, regularizer, &penalized, times / self.kept.problem.dims.batch as f32, gradient)
    }

    /// The gradient of the output as f32, with that of the activity regularizer.
    pub(super) fn d_output_f32(&self, pass: &mut Pass<'_>, d_output: &Tensor) -> Result<Converted> {
        if self.layer.config.activity_regularizer.is_none() {
            return Converted::new(pass, d_output, DType::F32);
        }
        let own = Converted::copy(pass, d_output, DType::F32)?;
        let output = Converted::new(pass, &self.output, DType::F32)?;
        self.penalize(pass, (output.range(), own.range()), self.output.shape().iter().product(), 2.0)?;
        Ok(own)
    }
}
