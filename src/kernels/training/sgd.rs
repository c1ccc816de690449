//! One step of gradient descent, with momentum, weight decay and clipping.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Constant, Kernel, Parameters, Pass};
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "sgd",
    source: source!("training/sgd"),
    generate: None,
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("gradient"),
        Binding::Read("squared_norm"),
        Binding::Write("variable"),
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
        momentum: f32,
        clip: f32,
    }
}

/// The parameters of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sgd {
    pub(crate) learning_rate: f32,
    /// 0 for none.
    pub(crate) weight_decay: f32,
    /// For variables with a velocity.
    pub(crate) momentum: f32,
    pub(crate) nesterov: bool,
}

fn constants([momentum, nesterov, clip]: [bool; 3]) -> [(&'static str, Constant); 3] {
    [
        ("MOMENTUM", Constant::Bool(momentum)),
        ("NESTEROV", Constant::Bool(nesterov)),
        ("CLIP", Constant::Bool(clip)),
    ]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    (0..8).map(|flags| constants([flags & 1 == 1, flags & 2 == 2, flags & 4 == 4]).to_vec()).collect()
}

/// Records the update of variable `[count]` f32 and its velocity, if it has one, in place. `clip` is the squared norm of all
/// gradients, one f32, and the limit of that norm.
pub(crate) fn sgd(
    pass: &mut Pass<'_>,
    step: &Sgd,
    gradient: BufferRange<'_>,
    clip: Option<(BufferRange<'_>, f32)>,
    (variable, velocity): (BufferRange<'_>, Option<BufferRange<'_>>),
    count: usize,
) -> Result<()> {
    let Sgd { learning_rate, weight_decay, momentum, nesterov } = *step;
    let (squared_norm, limit) = clip.unwrap_or((gradient, 0.0));
    let params = Params { count: count as u32, learning_rate, weight_decay, momentum, clip: limit };
    let constants = constants([velocity.is_some(), nesterov, clip.is_some()]);
    // A binding that a variant does not use still needs a buffer.
    let unused = pass.workspace("no velocity", 1);
    let ranges = [gradient, squared_norm, variable, velocity.unwrap_or(unused.range())];
    let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
    pass.dispatch(&KERNEL, &constants, Parameters::of(&params, true), &ranges, workgroups)
}
