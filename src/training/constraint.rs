//! What weights are projected onto after an update, as Keras' constraints have it.

use crate::gpu::{BufferRange, Pass, Workspace};
use crate::kernels::elementwise::sums::{Map, Sums, sums};
use crate::kernels::training::constrain::{MAX_GROUPS, Rule, constrain};
use crate::{Constraint, Error, Result};

const OPERATION: &str = "constraint";

impl Constraint {
    /// Fails, naming what is wrong, where training could not apply it to a tensor of this shape: one that is not Keras'
    /// own; axes that the shape does not have, or twice the same; a bound that is NaN; a rate that is NaN, infinite or
    /// negative.
    pub fn check(&self, shape: &[usize]) -> Result<()> {
        self.check_named("", shape)
    }

    /// [`check`](Self::check), for the parameter of this name.
    pub(crate) fn check_for(&self, parameter: &str, shape: &[usize]) -> Result<()> {
        self.check_named(&format!(" of {parameter}"), shape)
    }

    fn check_named(&self, whose: &str, shape: &[usize]) -> Result<()> {
        let refuse = |argument: &str, expected: &str, got: String| {
            Err(Error::argument(OPERATION, format!("{argument}{whose}"), expected, got))
        };
        if let Constraint::Other { class_name, .. } = self {
            return refuse("constraint", "one of Keras' own: training refuses others", class_name.clone());
        }
        let bounds = match *self {
            Constraint::MaxNorm { max_value, .. } => vec![("max_value", max_value)],
            Constraint::MinMaxNorm { min_value, max_value, .. } => {
                vec![("min_value", min_value), ("max_value", max_value)]
            }
            _ => Vec::new(),
        };
        if let Some((name, bound)) = bounds.into_iter().find(|(_, bound)| bound.is_nan()) {
            return refuse(name, "a number", bound.to_string());
        }
        match *self {
            // Written so that NaN fails.
            Constraint::MinMaxNorm { rate, .. } if !(rate >= 0.0 && rate.is_finite()) => {
                return refuse("rate", "finite and not negative", rate.to_string());
            }
            _ => {}
        }
        let Some(axis) = self.axis() else { return Ok(()) };
        if groups(axis, shape, whose)?.len() > MAX_GROUPS {
            let expected = format!("so that they and the others alternate at most {MAX_GROUPS} times");
            return refuse("axis", &expected, format!("{axis:?} of shape {shape:?}"));
        }
        Ok(())
    }

    /// The axes that a norm runs over, if it has norms.
    fn axis(&self) -> Option<&[i64]> {
        match self {
            Constraint::MaxNorm { axis, .. }
            | Constraint::MinMaxNorm { axis, .. }
            | Constraint::UnitNorm { axis } => Some(axis),
            Constraint::NonNeg | Constraint::Other { .. } => None,
        }
    }

    fn rule(&self) -> Rule {
        // f32 has infinities too, but shaders need not.
        let bound = |value: f64| value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        match *self {
            Constraint::MaxNorm { max_value, .. } => Rule::MaxNorm(bound(max_value)),
            Constraint::MinMaxNorm { min_value, max_value, rate, .. } => {
                Rule::MinMaxNorm { bounds: [bound(min_value), bound(max_value)], rate: rate as f32 }
            }
            Constraint::UnitNorm { .. } => Rule::UnitNorm,
            Constraint::NonNeg | Constraint::Other { .. } => Rule::NonNeg,
        }
    }
}

/// The axes of a shape in groups of neighbours that norms run over, or do not: the length of each, and whether they do. Errors name the
/// axis and `whose` it is.
fn groups(axis: &[i64], shape: &[usize], whose: &str) -> Result<Vec<(usize, bool)>> {
    let rank = shape.len() as i64;
    let mut reduced = vec![false; shape.len()];
    for &one in axis {
        let index = if one < 0 { one.saturating_add(rank) } else { one };
        let known = usize::try_from(index).ok().and_then(|index| reduced.get_mut(index));
        let got = || format!("{one} in {axis:?}");
        match known {
            None => {
                let expected = format!("axes of shape {shape:?}, from {} to {}", -rank, rank - 1);
                return Err(Error::argument(OPERATION, format!("axis{whose}"), expected, got()));
            }
            Some(true) => {
                return Err(Error::argument(OPERATION, format!("axis{whose}"), "axes once each", got()));
            }
            Some(known) => *known = true,
        }
    }
    let mut groups: Vec<(usize, bool)> = Vec::new();
    for (&length, &reduced) in shape.iter().zip(&reduced).filter(|(length, _)| **length != 1) {
        match groups.last_mut() {
            Some((whole, same)) if *same == reduced => *whole *= length,
            _ => groups.push((length, reduced)),
        }
    }
    Ok(groups)
}

/// Records w f32 of this shape → projected, in place. It must fit one binding.
pub(crate) fn record(
    pass: &mut Pass<'_>,
    constraint: &Constraint,
    w: BufferRange<'_>,
    shape: &[usize],
) -> Result<()> {
    constraint.check(shape)?;
    let Some(axis) = constraint.axis() else {
        // A binding that is not read still needs a buffer.
        let unused = pass.workspace("no norms", 1);
        let count = shape.iter().product();
        return constrain(pass, constraint.rule(), &[(count, false)], unused.range(), w);
    };
    let groups = groups(axis, shape, "")?;
    let squares = squares(pass, &groups, w)?;
    constrain(pass, constraint.rule(), &groups, squares.range(), w)
}

/// Records the sums of w² over the groups that norms run over, indexed by the others.
fn squares(pass: &mut Pass<'_>, groups: &[(usize, bool)], w: BufferRange<'_>) -> Result<Workspace> {
    let count: usize = groups.iter().map(|(length, _)| length).product();
    // Without any such group, each element is a vector of its own.
    let whole = [(count, false), (1, true)];
    let groups = if groups.iter().any(|(_, reduced)| *reduced) { groups } else { &whole };
    let mut done: Option<Workspace> = None;
    let (mut outer, mut inner) = (1, groups.iter().map(|(length, _)| length).product::<usize>());
    for &(length, reduced) in groups {
        inner /= length; // what is behind the group
        if !reduced {
            outer *= length;
            continue;
        }
        let y = pass.workspace("squares", (outer * inner) as u64); // [outer,inner]
        let (x, map) = done.as_ref().map_or((w, Map::Square), |done| (done.range(), Map::Value));
        let shape = [outer, length, inner];
        sums(pass, &Sums { x, other: None, shape, map, factor: 1.0, accumulate: false, y: y.range() })?;
        done = Some(y);
    }
    Ok(done.unwrap_or_else(|| pass.workspace("squares", 1)))
}
