//! Optimizers: SGD, Adam and AdamW, as Keras has them.

mod checks;
mod rule;
mod state;

use self::checks::check;
use self::rule::{OPERATION, OptimizerRule};
pub use self::rule::{Optimizer, Parameter};
use super::constraint;
use crate::gpu::{BufferRange, Operand, Pass, Workspace};
use crate::kernels::elementwise::cast::cast;
use crate::kernels::elementwise::sums::{Map, sum};
use crate::kernels::training::adam::{Adam, adam};
use crate::kernels::training::sgd::{Sgd, sgd};
use crate::{DType, Gpu, Result, Tensor};

impl Optimizer {
    /// One step on these parameters: weight decay, update, constraint, as Keras orders it. Submits, doesn't wait.
    ///
    /// Everything is checked first; on an error nothing is changed. Slots are made, as zeros, in the first step that sees a
    /// name. No parameters are no step. Every parameter must fit one binding.
    pub async fn step(&mut self, gpu: &Gpu, parameters: &[Parameter<'_>]) -> Result<()> {
        check(self, gpu, parameters)?;
        if parameters.is_empty() {
            return Ok(());
        }
        let made = gpu.submit(OPERATION, |pass| self.record(pass, parameters)).await?;
        self.slots.extend(made);
        self.iterations += 1;
        Ok(())
    }

    /// Records a step, and gives the slots that it made.
    fn record(
        &self,
        pass: &mut Pass<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<(String, Vec<Tensor>)>> {
        let gpu = pass.gpu();
        let mut made = Vec::new();
        for parameter in parameters.iter().filter(|parameter| !self.slots.contains_key(&parameter.name)) {
            // wgpu's buffers begin as zeros.
            let zeros = |_: &&str| {
                Tensor::allocate(gpu, OPERATION, parameter.variable.shape().to_vec(), DType::F32, false)
            };
            let slots: Vec<_> = self.slot_names().iter().map(zeros).collect::<Result<_>>()?;
            if !slots.is_empty() {
                made.push((parameter.name.clone(), slots));
            }
        }
        let squared_norm = self.record_squared_norm(pass, parameters)?;
        let clip = squared_norm.as_ref().map(|(norm, clip)| (norm.range(), *clip));
        for parameter in parameters {
            let fresh = || made.iter().find(|(name, _)| *name == parameter.name).map(|(_, slots)| slots);
            let slots = self.slots.get(&parameter.name).or_else(fresh).map_or(&[][..], Vec::as_slice);
            self.record_parameter(pass, parameter, slots, clip)?;
        }
        Ok(made)
    }

    /// Records Σ g² over all gradients, if they are to be clipped; with what to.
    fn record_squared_norm(
        &self,
        pass: &mut Pass<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Option<(Workspace, f32)>> {
        let Some(clip) = self.global_clipnorm.filter(|&clip| clip > 0.0) else { return Ok(None) };
        let squared_norm = pass.workspace("squared norm", 1); // [1]
        for (i, parameter) in parameters.iter().enumerate() {
            let (x, y) = ((parameter.gradient.range(), Map::Square), (squared_norm.range(), i > 0));
            sum(pass, x, parameter.count(), 1.0, y)?;
        }
        Ok(Some((squared_norm, clip as f32)))
    }

    /// Records weight decay, update, constraint and compute copy of one parameter.
    fn record_parameter(
        &self,
        pass: &mut Pass<'_>,
        parameter: &Parameter<'_>,
        slots: &[Tensor],
        clip: Option<(BufferRange<'_>, f32)>,
    ) -> Result<()> {
        let Parameter { variable, compute_copy, gradient, constraint, .. } = parameter;
        let (count, dtype) = (parameter.count(), variable.dtype());
        let wide = (dtype != DType::F32).then(|| pass.workspace("variable", count as u64));
        if let Some(wide) = &wide {
            cast(pass, variable.operand(), Operand::f32(wide.range()), count)?;
        }
        let master = wide.as_ref().map_or(variable.range(), Workspace::range); // f32
        self.record_update(pass, gradient.range(), clip, master, slots, count)?;
        if let Some(constraint) = constraint {
            constraint::record(pass, constraint, master, variable.shape())?;
        }
        if let Some(wide) = &wide {
            cast(pass, Operand::f32(wide.range()), variable.operand(), count)?;
        }
        if let Some(copy) = compute_copy {
            cast(pass, variable.operand(), copy.operand(), count)?;
        }
        Ok(())
    }

    /// Records weight decay and update of `variable` `[count]` f32.
    fn record_update(
        &self,
        pass: &mut Pass<'_>,
        gradient: BufferRange<'_>,
        clip: Option<(BufferRange<'_>, f32)>,
        variable: BufferRange<'_>,
        slots: &[Tensor],
        count: usize,
    ) -> Result<()> {
        let learning_rate = self.learning_rate();
        let weight_decay = self.weight_decay.unwrap_or(0.0) as f32;
        match (self.rule, slots) {
            (OptimizerRule::Adam { betas: [beta_1, beta_2], epsilon }, [momentum, velocity]) => {
                let t = (self.iterations + 1) as f64;
                let alpha = learning_rate * (1.0 - beta_2.powf(t)).sqrt() / (1.0 - beta_1.powf(t));
                let step = Adam {
                    learning_rate: learning_rate as f32,
                    weight_decay,
                    alpha: alpha as f32,
                    shares: [(1.0 - beta_1) as f32, (1.0 - beta_2) as f32],
                    epsilon: epsilon as f32,
                };
                let slots = [variable, momentum.range(), velocity.range()];
                adam(pass, &step, gradient, clip, slots, count)
            }
            (OptimizerRule::Sgd { momentum, nesterov }, slots) => {
                let velocity = slots.first().filter(|_| momentum != 0.0).map(Tensor::range);
                let (learning_rate, momentum) = (learning_rate as f32, momentum as f32);
                let step = Sgd { learning_rate, weight_decay, momentum, nesterov };
                sgd(pass, &step, gradient, clip, (variable, velocity), count)
            }
            (OptimizerRule::Adam { .. }, _) => {
                let got = slots.len().to_string();
                Err(crate::Error::argument(OPERATION, "slots", "two for each variable", got))
            }
        }
    }
}
