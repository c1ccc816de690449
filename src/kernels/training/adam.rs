//! One step of Adam, with weight decay and clipping.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Constant, Kernel, Parameters, Pass};
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "adam",
    source: source!("training/adam"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("gradient"),
        Binding::Read("squared_norm"),
        Binding::Write("variable"),
        Binding::Write("momentum"),
        Binding::Write("velocity"),
    ],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

params! {
    /// The parameters of a dispatch.
    struct Params {
        count: u32,
        learning_rate: f32,
        weight_decay: f32,
        alpha: f32,
        /// 1 − beta_1 and 1 − beta_2.
        momentum_share: f32,
        velocity_share: f32,
        epsilon: f32,
        clip: f32,
    }
}

/// The parameters of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Adam {
    pub(crate) learning_rate: f32,
    /// 0 for none.
    pub(crate) weight_decay: f32,
    /// learning_rate · √(1 − beta_2^t) / (1 − beta_1^t)
    pub(crate) alpha: f32,
    /// 1 − beta_1, 1 − beta_2
    pub(crate) shares: [f32; 2],
    pub(crate) epsilon: f32,
}

fn constants(clip: bool) -> [(&'static str, Constant); 1] {
    [("CLIP", Constant::Bool(clip))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    [false, true].map(|clip| constants(clip).to_vec()).to_vec()
}

/// Records the update of variable, momentum and velocity `[count]` f32, in place. `clip` is the squared norm of all
/// gradients, one f32, and the limit of that norm.
pub(crate) fn adam(
    pass: &mut Pass<'_>,
    step: &Adam,
    gradient: BufferRange<'_>,
    clip: Option<(BufferRange<'_>, f32)>,
    [variable, momentum, velocity]: [BufferRange<'_>; 3],
    count: usize,
) -> Result<()> {
    let Adam { learning_rate, weight_decay, alpha, shares: [momentum_share, velocity_share], epsilon } =
        *step;
    let (squared_norm, limit) = clip.unwrap_or((gradient, 0.0));
    let params = Params {
        count: count as u32,
        learning_rate,
        weight_decay,
        alpha,
        momentum_share,
        velocity_share,
        epsilon,
        clip: limit,
    };
    let ranges = [gradient, squared_norm, variable, momentum, velocity];
    let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
    pass.dispatch(&KERNEL, &constants(clip.is_some()), Parameters::of(&params, true), &ranges, workgroups)
}
