//! The dropout rule, as a uniform block.

use crate::dropout::Dropout;
use crate::kernels::params::params;

params! {
    /// The dropout rule: `shaders/attention/dropout.wgsl` computes it.
    pub(crate) struct DropoutRule {
        q_offset: u32,
        batch_offset: u32,
        /// Random words below this are dropped.
        threshold: u32,
        seed_low: u32,
        seed_high: u32,
        keep_scale: f32,
        ; padding 2
    }
}

impl DropoutRule {
    /// `None` keeps everything.
    pub(crate) fn new(dropout: Option<Dropout>) -> Self {
        let dropout = dropout.unwrap_or_default();
        Self {
            q_offset: dropout.q_offset,
            batch_offset: dropout.batch_offset,
            threshold: dropout.threshold(),
            seed_low: dropout.seed as u32,
            seed_high: (dropout.seed >> 32) as u32,
            keep_scale: dropout.keep_scale() as f32,
            ..Self::default()
        }
    }
}
