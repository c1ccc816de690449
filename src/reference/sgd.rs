/// The parameters of a step of gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// The learning rate.
    pub learning_rate: f64,
    /// The share of the variable that decays per step at a learning rate of 1.
    pub weight_decay: f64,
    /// The share of the velocity that is kept.
    pub momentum: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

/// One step: Keras' `SGD`. Without momentum the velocity is not used.
pub fn sgd(variable: &mut [f64], velocity: &mut [f64], gradient: &[f64], step: &SgdStep) {
    let SgdStep { learning_rate, weight_decay, momentum, nesterov } = *step;
    for ((variable, velocity), gradient) in variable.iter_mut().zip(velocity).zip(gradient) {
        *variable -= *variable * weight_decay * learning_rate;
        if momentum == 0.0 {
            *variable -= learning_rate * gradient;
            continue;
        }
        *velocity = momentum * *velocity - learning_rate * gradient;
        *variable += if nesterov { momentum * *velocity - learning_rate * gradient } else { *velocity };
    }
}

/// The factor of every gradient under clipping by the global norm: Keras' `clip_by_global_norm`.
pub fn clip_scale<'a>(gradients: impl IntoIterator<Item = &'a [f64]>, clip: f64) -> f64 {
    let norm = gradients.into_iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
    if norm.is_finite() { clip * (1.0 / norm).min(1.0 / clip) } else { f64::NAN }
}
