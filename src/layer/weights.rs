//! The weights of a layer on the device: read, set, copied, trained.

#[cfg(feature = "training")]
use super::Gradients;
use crate::gpu::Pass;
use crate::kernels::elementwise::cast::cast;
#[cfg(feature = "training")]
use crate::training::{Optimizer, Parameter};
use crate::{Error, GroupedQueryAttention, Result, Tensor, Weights};

const SET: &str = "GroupedQueryAttention::set_weights";
const COPY: &str = "GroupedQueryAttention::copy_weights";

impl GroupedQueryAttention {
    /// The weights on the device, in the policy's variable type. Training changes them in place.
    pub fn variables(&self) -> &Weights<Tensor> {
        self.variables.as_ref().unwrap_or(&self.weights)
    }

    /// Waits for the GPU and reads the weights.
    pub async fn read_weights(&self) -> Result<Weights> {
        self.variables().try_map_async(async |weight| weight.to_array().await).await
    }

    /// A copy of the weights on the device, for [`set_weights`](Self::set_weights) later.
    pub async fn copy_weights(&self) -> Result<Weights<Tensor>> {
        self.gpu
            .submit(COPY, |pass| {
                self.variables().try_map(|weight| {
                    let copy = Tensor::output(&self.gpu, COPY, weight.shape().to_vec(), weight.dtype())?;
                    record_copy(pass, weight, &copy)?;
                    Ok(copy)
                })
            })
            .await
    }

    /// Replaces the layer's weights by copies of these, which must have its shapes and may have any float type.
    pub async fn set_weights(&mut self, weights: &Weights<Tensor>) -> Result<()> {
        let widths = weights.widths(SET, &self.config)?;
        if widths != self.widths {
            let expected = format!("of the widths that the layer is built for, {:?}", self.widths);
            return Err(Error::argument(SET, "weights", expected, format!("{widths:?}")));
        }
        for (name, weight) in weights.named() {
            crate::arguments::check_float(SET, &self.gpu, &name, weight)?;
        }
        let pairs = |to: &Weights<Tensor>| -> Vec<(Tensor, Tensor)> {
            let to = to.named().into_iter().map(|(_, to)| to.clone());
            weights.named().into_iter().map(|(_, from)| from.clone()).zip(to).collect()
        };
        let mut all = pairs(self.variables());
        if self.variables.is_some() {
            all.extend(pairs(&self.weights));
        }
        let copy = |pass: &mut Pass<'_>| all.iter().try_for_each(|(from, to)| record_copy(pass, from, to));
        self.gpu.submit(SET, copy).await
    }
}

#[cfg(feature = "training")]
impl GroupedQueryAttention {
    /// The layer's weights with their gradients, for an [`Optimizer`](Optimizer); `prefix` distinguishes the layers of a
    /// model. Empty if the layer is not trainable.
    pub fn parameters<'a>(&'a self, prefix: &str, gradients: &'a Gradients) -> Vec<Parameter<'a>> {
        if !self.config.trainable {
            return Vec::new();
        }
        let copies = self.variables.as_ref().map(|_| self.weights.named());
        let named = self.variables().named().into_iter().zip(gradients.weights.named()).enumerate();
        named
            .map(|(i, ((name, variable), (_, gradient)))| Parameter {
                constraint: if name.ends_with("/kernel") {
                    self.config.kernel_constraint.as_ref()
                } else {
                    self.config.bias_constraint.as_ref()
                },
                name: format!("{prefix}{name}"),
                variable,
                compute_copy: copies.as_ref().map(|copies| copies[i].1),
                gradient,
            })
            .collect()
    }

    /// One step of an optimizer on this layer alone. For several layers, collect their [`parameters`](Self::parameters).
    pub async fn step(&mut self, optimizer: &mut Optimizer, gradients: &Gradients) -> Result<()> {
        optimizer.step(&self.gpu, &self.parameters("", gradients)).await
    }
}

/// Records to = from, rounded to its type.
fn record_copy(pass: &mut Pass<'_>, from: &Tensor, to: &Tensor) -> Result<()> {
    let count = from.shape().iter().product();
    cast(pass, from.operand(), to.operand(), count)
}
