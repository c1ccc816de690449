/// The parameters of a step of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// The learning rate.
    pub learning_rate: f64,
    /// The share of the variable that decays per step at a learning rate of 1.
    pub weight_decay: f64,
    /// The share of the momentum and of the velocity that is kept.
    pub betas: [f64; 2],
    /// Added to the root of the velocity.
    pub epsilon: f64,
    /// The number of this step, from 1.
    pub t: u64,
}

/// One step: Keras' `Adam` and `AdamW`.
pub fn adam(variable: &mut [f64], [momentum, velocity]: [&mut [f64]; 2], gradient: &[f64], step: &AdamStep) {
    let AdamStep { learning_rate, weight_decay, betas: [beta_1, beta_2], epsilon, t } = *step;
    let alpha = learning_rate * (1.0 - beta_2.powf(t as f64)).sqrt() / (1.0 - beta_1.powf(t as f64));
    for (i, &g) in gradient.iter().enumerate() {
        variable[i] -= variable[i] * weight_decay * learning_rate;
        momentum[i] = beta_1 * momentum[i] + (1.0 - beta_1) * g;
        velocity[i] = beta_2 * velocity[i] + (1.0 - beta_2) * g * g;
        variable[i] -= alpha * momentum[i] / (velocity[i].sqrt() + epsilon);
    }
}
