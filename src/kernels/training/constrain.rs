//! Projects `w` onto the set that a constraint allows, in place, given its squared norms.

use crate::Result;
use crate::gpu::{Binding, BufferRange, Constant, Kernel, Parameters, Pass};
use crate::kernels::params::{self, params};
use crate::shaders::source;

pub(crate) static KERNEL: Kernel = Kernel {
    name: "constrain",
    source: source!("training/constrain"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Read("squares"), Binding::Write("w")],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

/// The most groups of axes.
pub(crate) const MAX_GROUPS: usize = 8;

params! {
    /// The parameters of a dispatch.
    struct Params {
        lengths: [u32; MAX_GROUPS],
        strides: [u32; MAX_GROUPS],
        count: u32,
        groups: u32,
        low: f32,
        high: f32,
        rate: f32,
    }
}

/// The rule of a constraint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// Norms clipped to at most this.
    MaxNorm(f32),
    /// Norms moved between these bounds, by this rate.
    MinMaxNorm { bounds: [f32; 2], rate: f32 },
    /// Norms scaled to 1.
    UnitNorm,
    /// No negative values. Needs no norms.
    NonNeg,
}

impl Rule {
    fn number(self) -> u32 {
        match self {
            Rule::MaxNorm(_) => 0,
            Rule::MinMaxNorm { .. } => 1,
            Rule::UnitNorm => 2,
            Rule::NonNeg => 3,
        }
    }
}

fn constants(rule: u32) -> [(&'static str, Constant); 1] {
    [("RULE", Constant::U32(rule))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    (0..4).map(|rule| constants(rule).to_vec()).collect()
}

/// Records the projection of w f32, in place. `groups`, at most [`MAX_GROUPS`], are the merged axes of w: the length of each,
/// and whether norms run over it; squares are indexed by the others. w must fit one binding.
pub(crate) fn constrain(
    pass: &mut Pass<'_>,
    rule: Rule,
    groups: &[(usize, bool)],
    squares: BufferRange<'_>,
    w: BufferRange<'_>,
) -> Result<()> {
    let ([low, high], rate) = match rule {
        Rule::MaxNorm(high) => ([0.0, high], 1.0),
        Rule::MinMaxNorm { bounds, rate } => (bounds, rate),
        Rule::UnitNorm | Rule::NonNeg => ([0.0; 2], 1.0),
    };
    let count = groups.iter().map(|(length, _)| length).product::<usize>();
    let (mut lengths, mut strides) = ([1; MAX_GROUPS], [0; MAX_GROUPS]);
    let mut stride = 1;
    for (group, &(length, reduced)) in groups.iter().enumerate().take(MAX_GROUPS).rev() {
        lengths[group] = length as u32;
        strides[group] = if reduced { 0 } else { stride };
        stride *= if reduced { 1 } else { length as u32 };
    }
    let groups = groups.len() as u32;
    let params = Params { lengths, strides, count: count as u32, groups, low, high, rate };
    let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
    let constants = constants(rule.number());
    pass.dispatch(&KERNEL, &constants, Parameters::of(&params, false), &[squares, w], workgroups)
}
