//! Optimizers: SGD, Adam and AdamW, as Keras has them.

use std::collections::BTreeMap;

use super::constraint;
use super::optimizer_checks::check;
use crate::gpu::{BufferRange, Operand, Pass, Workspace};
use crate::kernels::elementwise::cast::cast;
use crate::kernels::elementwise::sums::{Map, sum};
use crate::kernels::training::adam::{Adam, adam};
use crate::kernels::training::sgd::{Sgd, sgd};
use crate::{Constraint, DType, Gpu, Result, Tensor};

pub(super) const OPERATION: &str = "Optimizer::step";

/// Changes variables by their gradients: Keras' `SGD`, `Adam` and `AdamW`, with their defaults.
///
/// Arithmetic and slots (momentum, velocity) are f32, whatever the variables' type; Keras has slots in it.
///
/// ```
/// use gqa::{Gpu, Tensor, training::{Optimizer, Parameter}};
/// # pollster::block_on(async {
/// let gpu = Gpu::from_env().await?;
/// let w = Tensor::from_slice(&gpu, [2], &[1.0f32, 2.0]).await?;
/// let gradient = Tensor::from_slice(&gpu, [2], &[10.0f32, -10.0]).await?;
/// let mut optimizer = Optimizer::sgd().with_learning_rate(0.1);
/// optimizer.step(&gpu, &[Parameter::new("w", &w, &gradient)]).await?;
/// assert_eq!(w.to_vec::<f32>().await?, [0.0, 3.0]);
/// # Ok::<(), gqa::Error>(()) }).unwrap();
/// ```
pub struct Optimizer {
    pub(super) rule: OptimizerRule,
    pub(super) learning_rate: LearningRate,
    pub(super) weight_decay: Option<f64>,
    pub(super) global_clipnorm: Option<f64>,
    /// An option that was set and that the rule does not have.
    pub(super) misplaced: Option<&'static str>,
    pub(super) iterations: u64,
    /// By parameter, in the order of [`slot_names`](Self::slot_names), f32 in the variable's shape.
    pub(super) slots: BTreeMap<String, Vec<Tensor>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum OptimizerRule {
    Sgd { momentum: f64, nesterov: bool },
    Adam { betas: [f64; 2], epsilon: f64 },
}

pub(super) enum LearningRate {
    Constant(f64),
    Schedule(Box<dyn Fn(u64) -> f64 + Send + Sync>),
}

/// One variable with its gradient.
#[derive(Debug, Clone)]
pub struct Parameter<'a> {
    /// Names its slots, such as `query/kernel`. Must not be used twice in a step.
    pub name: String,
    /// f32, f16 or bf16; changed in place.
    pub variable: &'a Tensor,
    /// Written from the variable after the update: what mixed policies compute with.
    pub compute_copy: Option<&'a Tensor>,
    /// f32, of the variable's shape.
    pub gradient: &'a Tensor,
    /// What the variable is projected onto after the update.
    pub constraint: Option<&'a Constraint>,
}

impl<'a> Parameter<'a> {
    /// A variable with neither compute copy nor constraint.
    pub fn new(name: impl Into<String>, variable: &'a Tensor, gradient: &'a Tensor) -> Self {
        Self { name: name.into(), variable, compute_copy: None, gradient, constraint: None }
    }

    fn count(&self) -> usize {
        self.variable.shape().iter().product()
    }
}

impl Optimizer {
    /// Gradient descent, with a learning rate of 0.01 and no momentum.
    pub fn sgd() -> Self {
        Self::new(OptimizerRule::Sgd { momentum: 0.0, nesterov: false }, 0.01, None)
    }

    /// Adam, with a learning rate of 0.001, betas 0.9 and 0.999 and an epsilon of 1e-7.
    pub fn adam() -> Self {
        Self::new(OptimizerRule::Adam { betas: [0.9, 0.999], epsilon: 1e-7 }, 0.001, None)
    }

    /// [`adam`](Self::adam) with a weight decay of 0.004.
    pub fn adamw() -> Self {
        Self::adam().with_weight_decay(Some(0.004))
    }

    fn new(rule: OptimizerRule, learning_rate: f64, weight_decay: Option<f64>) -> Self {
        Self {
            rule,
            learning_rate: LearningRate::Constant(learning_rate),
            weight_decay,
            global_clipnorm: None,
            misplaced: None,
            iterations: 0,
            slots: BTreeMap::new(),
        }
    }

    /// The same learning rate for every step. Like every option, it is checked by [`step`](Self::step).
    pub fn with_learning_rate(mut self, learning_rate: f64) -> Self {
        self.learning_rate = LearningRate::Constant(learning_rate);
        self
    }

    /// A learning rate that is a function of the iteration, counted from 0.
    pub fn with_schedule(mut self, schedule: impl Fn(u64) -> f64 + Send + Sync + 'static) -> Self {
        self.learning_rate = LearningRate::Schedule(Box::new(schedule));
        self
    }

    /// SGD: how much of the last step is made again, in [0, 1]. 0 is none.
    pub fn with_momentum(mut self, value: f64) -> Self {
        match &mut self.rule {
            OptimizerRule::Sgd { momentum, .. } => *momentum = value,
            OptimizerRule::Adam { .. } => self.misplaced = Some("momentum"),
        }
        self
    }

    /// SGD: whether the gradient counts as taken behind the momentum's step. Without momentum it makes no difference.
    pub fn with_nesterov(mut self, value: bool) -> Self {
        match &mut self.rule {
            OptimizerRule::Sgd { nesterov, .. } => *nesterov = value,
            OptimizerRule::Adam { .. } => self.misplaced = Some("nesterov"),
        }
        self
    }

    /// What each variable loses before each update: this times the learning rate times itself. Biases too, as in Keras.
    pub fn with_weight_decay(mut self, weight_decay: Option<f64>) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// Adam: how much of the averages of gradients and of their squares is kept, in [0, 1).
    pub fn with_betas(mut self, beta_1: f64, beta_2: f64) -> Self {
        match &mut self.rule {
            OptimizerRule::Adam { betas, .. } => *betas = [beta_1, beta_2],
            OptimizerRule::Sgd { .. } => self.misplaced = Some("betas"),
        }
        self
    }

    /// Adam: added to the root of the average of squares.
    pub fn with_epsilon(mut self, value: f64) -> Self {
        match &mut self.rule {
            OptimizerRule::Adam { epsilon, .. } => *epsilon = value,
            OptimizerRule::Sgd { .. } => self.misplaced = Some("epsilon"),
        }
        self
    }

    /// The most that the norm of all gradients of a step together may be; they are scaled down to it. `None` and 0 let them
    /// be. A norm that is not finite makes everything NaN, as in Keras.
    pub fn with_global_clipnorm(mut self, global_clipnorm: Option<f64>) -> Self {
        self.global_clipnorm = global_clipnorm;
        self
    }

    /// How many steps have been made.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        match &self.learning_rate {
            LearningRate::Constant(learning_rate) => *learning_rate,
            LearningRate::Schedule(schedule) => schedule(self.iterations),
        }
    }

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

    /// Keras' names of the slots of each variable.
    pub(super) fn slot_names(&self) -> &'static [&'static str] {
        match self.rule {
            OptimizerRule::Sgd { momentum: 0.0, .. } => &[],
            OptimizerRule::Sgd { .. } => &["momentum"],
            OptimizerRule::Adam { .. } => &["momentum", "velocity"],
        }
    }
}

impl std::fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Optimizer({:?}, {} iterations)", self.rule, self.iterations)
    }
}
