//! Everything that a step of an optimizer could be refused for, before anything is recorded.

use std::collections::HashSet;

use super::optimizer::{LearningRate, OPERATION, Optimizer, OptimizerRule, Parameter};
use crate::arguments::check_binding;
use crate::arguments::{check_device, check_float};
use crate::{DType, Error, Gpu, Result, Tensor};

/// Fails, naming the argument, unless the step can be made.
pub(super) fn check(optimizer: &Optimizer, gpu: &Gpu, parameters: &[Parameter<'_>]) -> Result<()> {
    check_options(optimizer)?;
    let mut names = HashSet::new();
    for parameter in parameters {
        if !names.insert(parameter.name.as_str()) {
            return refuse("name".into(), "used once in a step", format!("`{}` twice", parameter.name));
        }
        check_parameter(gpu, parameter)?;
        let known = optimizer.slots.get(&parameter.name);
        for (slot, slot_name) in known.into_iter().flatten().zip(optimizer.slot_names()) {
            let name = format!("{} of {}", slot_name, parameter.name);
            check_device(OPERATION, gpu, &name, slot)?;
            check_shape(&name, slot, parameter.variable)?;
        }
    }
    Ok(())
}

fn check_options(optimizer: &Optimizer) -> Result<()> {
    let not_negative = "finite and not negative";
    // Written so that NaN fails.
    let at_least_0 = |value: f64| value >= 0.0 && value.is_finite();
    if let Some(option) = optimizer.misplaced {
        let kind = match optimizer.rule {
            OptimizerRule::Sgd { .. } => "SGD",
            OptimizerRule::Adam { .. } => "Adam",
        };
        return refuse(option.into(), "an option of the optimizer", format!("one that {kind} does not have"));
    }
    let learning_rate = optimizer.learning_rate();
    if !at_least_0(learning_rate) {
        let name = match optimizer.learning_rate {
            LearningRate::Constant(_) => "learning_rate".into(),
            LearningRate::Schedule(_) => format!("learning_rate of iteration {}", optimizer.iterations),
        };
        return refuse(name, not_negative, learning_rate.to_string());
    }
    let mut values = vec![
        ("weight_decay", optimizer.weight_decay.unwrap_or(0.0), at_least_0 as fn(f64) -> bool, not_negative),
        ("global_clipnorm", optimizer.global_clipnorm.unwrap_or(0.0), at_least_0, not_negative),
    ];
    match optimizer.rule {
        OptimizerRule::Sgd { momentum, .. } => {
            values.push(("momentum", momentum, |value| (0.0..=1.0).contains(&value), "in [0, 1]"));
        }
        OptimizerRule::Adam { betas: [beta_1, beta_2], epsilon } => {
            values.push(("beta_1", beta_1, |value| (0.0..1.0).contains(&value), "in [0, 1)"));
            values.push(("beta_2", beta_2, |value| (0.0..1.0).contains(&value), "in [0, 1)"));
            values.push(("epsilon", epsilon, at_least_0, not_negative));
        }
    }
    match values.into_iter().find(|(_, value, is_right, _)| !is_right(*value)) {
        None => Ok(()),
        Some((name, value, _, expected)) => refuse(name.into(), expected, value.to_string()),
    }
}

fn check_parameter(gpu: &Gpu, parameter: &Parameter<'_>) -> Result<()> {
    let Parameter { name, variable, compute_copy, gradient, constraint } = parameter;
    let named = |what: &str| format!("{what} of {name}");
    let count = variable.shape().iter().product::<usize>() as u64;
    check_float(OPERATION, gpu, &named("variable"), variable)?;
    check_binding(gpu, OPERATION, &named("variable"), count)?;
    check_device(OPERATION, gpu, &named("gradient"), gradient)?;
    if gradient.dtype() != DType::F32 {
        return refuse(named("gradient"), "of type f32", gradient.dtype().to_string());
    }
    check_shape(&named("gradient"), gradient, variable)?;
    check_apart(named("gradient"), gradient, variable)?;
    if let Some(copy) = compute_copy {
        check_float(OPERATION, gpu, &named("compute_copy"), copy)?;
        check_shape(&named("compute_copy"), copy, variable)?;
        check_apart(named("compute_copy"), copy, variable)?;
        check_apart(named("compute_copy"), copy, gradient)?;
    }
    constraint.map_or(Ok(()), |constraint| constraint.check_for(name, variable.shape()))
}

fn check_shape(name: &str, tensor: &Tensor, variable: &Tensor) -> Result<()> {
    if tensor.shape() == variable.shape() {
        return Ok(());
    }
    let expected = format!("of the variable's shape {:?}", variable.shape());
    refuse(name.into(), &expected, format!("shape {:?}", tensor.shape()))
}

fn check_apart(name: String, tensor: &Tensor, other: &Tensor) -> Result<()> {
    if tensor.shares_buffer(other) {
        return refuse(name, "in a buffer of its own", "one that is written in the same step".into());
    }
    Ok(())
}

fn refuse<T>(argument: String, expected: &str, got: String) -> Result<T> {
    Err(Error::argument(OPERATION, argument, expected, got))
}
