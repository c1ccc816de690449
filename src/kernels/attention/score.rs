//! The score rule, as a uniform block: maps a product q·k to the score that the softmax takes.

use crate::kernels::params::params;

params! {
    /// The score rule: `shaders/attention/score.wgsl` computes it.
    pub(crate) struct Score {
        /// The factor of products.
        scale: f32,
        ; padding 3
    }
}

impl Score {
    /// score = scale · product
    pub(crate) fn scaled(scale: f32) -> Self {
        Self { scale, ..Self::default() }
    }

    /// The rule of the layer: score = product / √D.
    pub(crate) fn of_layer(head_dim: usize) -> Self {
        Self::scaled((1.0 / (head_dim as f64).sqrt()) as f32)
    }
}
