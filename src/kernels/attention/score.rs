//! The score of a query and a key: what is made of the product q·k before the softmax.

use crate::kernels::params::params;

params! {
    /// The score rule: `shaders/attention/score.wgsl` computes it.
    pub(crate) struct Score {
        /// What products are multiplied by.
        scale: f32,
        ; padding 3
    }
}

impl Score {
    /// score = scale · product
    pub(crate) fn scaled(scale: f32) -> Self {
        Self { scale, ..Self::default() }
    }
}
