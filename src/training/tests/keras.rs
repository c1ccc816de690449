//! What Keras computes: every case of `tests/fixtures/optimizers.py`.

use std::path::Path;

use pollster::block_on;

use super::super::regularizer::{Penalized, record_gradient, record_loss};
use super::super::{Optimizer, Parameter};
use crate::kernels::tests::support::*;
use crate::safetensors::read_tensors;
use crate::{Array, Constraint, DType, OrthogonalMode, Regularizer};

#[derive(serde::Deserialize)]
struct Cases {
    optimizers: Vec<Row>,
    constraints: Vec<Row>,
    regularizers: Vec<Row>,
}

/// A case, or the constraint of one; what it does not say is Keras' default.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Row {
    name: String,
    class: String,
    learning_rate: Option<f64>,
    momentum: Option<f64>,
    nesterov: Option<bool>,
    weight_decay: Option<f64>,
    global_clipnorm: Option<f64>,
    beta_1: Option<f64>,
    beta_2: Option<f64>,
    epsilon: Option<f64>,
    constraint: Option<Box<Row>>,
    min_value: f64,
    max_value: f64,
    rate: f64,
    axis: Vec<i64>,
    l1: f64,
    l2: f64,
    factor: f64,
    mode: String,
}

impl Row {
    fn optimizer(&self) -> Optimizer {
        let mut made = match self.class.as_str() {
            "SGD" => Optimizer::sgd(),
            "Adam" => Optimizer::adam(),
            "AdamW" => Optimizer::adamw(),
            other => panic!("{other}"),
        };
        if let Some(learning_rate) = self.learning_rate {
            made = made.with_learning_rate(learning_rate);
        }
        if let Some(momentum) = self.momentum {
            made = made.with_momentum(momentum).with_nesterov(self.nesterov == Some(true));
        }
        if self.weight_decay.is_some() {
            made = made.with_weight_decay(self.weight_decay);
        }
        if let Some((beta_1, beta_2)) = self.beta_1.zip(self.beta_2) {
            made = made.with_betas(beta_1, beta_2);
        }
        if let Some(epsilon) = self.epsilon {
            made = made.with_epsilon(epsilon);
        }
        made.with_global_clipnorm(self.global_clipnorm)
    }

    fn constraint(&self) -> Constraint {
        let (min_value, max_value, rate, axis) =
            (self.min_value, self.max_value, self.rate, self.axis.clone());
        match self.class.as_str() {
            "MaxNorm" => Constraint::MaxNorm { max_value, axis },
            "MinMaxNorm" => Constraint::MinMaxNorm { min_value, max_value, rate, axis },
            "UnitNorm" => Constraint::UnitNorm { axis },
            "NonNeg" => Constraint::NonNeg,
            other => panic!("{other}"),
        }
    }

    fn regularizer(&self) -> Regularizer {
        let mode = if self.mode == "columns" { OrthogonalMode::Columns } else { OrthogonalMode::Rows };
        match self.class.as_str() {
            "L1" => Regularizer::L1 { l1: self.l1 },
            "L2" => Regularizer::L2 { l2: self.l2 },
            "L1L2" => Regularizer::L1L2 { l1: self.l1, l2: self.l2 },
            "OrthogonalRegularizer" => Regularizer::Orthogonal { factor: self.factor, mode },
            other => panic!("{other}"),
        }
    }
}

fn load() -> (Cases, impl Fn(&str) -> Array) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keras-3.15.1/optimizers");
    let cases = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    let tensors = read_tensors(&std::fs::read(folder.join("tensors.safetensors")).unwrap()).unwrap();
    let find = move |name: &str| {
        let found = tensors.iter().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("{name}")).clone().into_float().unwrap()
    };
    (cases, find)
}

#[test]
fn optimizers_are_keras() {
    let (gpu, (cases, find)) = (gpu(), load());
    assert!(cases.optimizers.len() > 10);
    let names = ["query/kernel", "query/bias"];
    let upload = |array: Array| tensor(&gpu, array.shape(), array.data().to_vec(), DType::F32).0;
    for row in &cases.optimizers {
        let mut optimizer = row.optimizer();
        let constraint = row.constraint.as_ref().map(|row| row.constraint());
        let variables = names.map(|name| upload(find(&format!("variable/{name}"))));
        let all = names.map(|name| find(&format!("gradient/{name}")));
        for step in 0..all[0].shape()[0] {
            let gradients = all.each_ref().map(|all| {
                let count: usize = all.shape()[1..].iter().product();
                upload(Array::new(&all.shape()[1..], &all.data()[step * count..][..count]).unwrap())
            });
            let mut parameters = [0, 1].map(|i| Parameter::new(names[i], &variables[i], &gradients[i]));
            parameters[0].constraint = constraint.as_ref();
            block_on(optimizer.step(&gpu, &parameters)).unwrap();
        }
        for (name, variable) in names.iter().zip(&variables) {
            let expected = find(&format!("{}/{name}", row.name)).to_f64();
            check(&format!("{}: {name}", row.name), variable, expected.data(), 1e-5);
        }
    }
}

#[test]
fn constraints_are_keras() {
    let (gpu, (cases, find)) = (gpu(), load());
    assert!(cases.constraints.len() > 10);
    for row in &cases.constraints {
        let w = find("variable/query/kernel");
        let shape = w.shape().to_vec();
        let (w, _) = tensor(&gpu, &shape, w.into_data(), DType::F32);
        run(&gpu, |pass| super::super::constraint::record(pass, &row.constraint(), w.range(), &shape));
        let expected = find(&format!("{}/constrained", row.name)).to_f64();
        check(&row.name, &w, expected.data(), 1e-6);
    }
}

#[test]
fn regularizers_are_keras() {
    let (gpu, (cases, find)) = (gpu(), load());
    assert_eq!(cases.regularizers.len(), 5);
    for row in &cases.regularizers {
        let x = find("variable/query/kernel");
        let shape = x.shape().to_vec();
        let (x, _) = tensor(&gpu, &shape, x.into_data(), DType::F32);
        let zeros = |shape: &[usize]| tensor(&gpu, shape, vec![0.0; shape.iter().product()], DType::F32).0;
        let (loss, gradient) = (zeros(&[1]), zeros(&shape));
        run(&gpu, |pass| {
            let penalized = Penalized::weight("query/kernel", x.range(), &shape);
            record_loss(pass, &row.regularizer(), &penalized, 1.0, loss.range())?;
            record_gradient(pass, &row.regularizer(), &penalized, 1.0, gradient.range())
        });
        let expected = |what| find(&format!("{}/{what}", row.name)).to_f64();
        check(&format!("{}: loss", row.name), &loss, expected("loss").data(), 1e-6);
        check(&format!("{}: gradient", row.name), &gradient, expected("gradient").data(), 1e-5);
    }
}
