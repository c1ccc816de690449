//! The kernels: for each `shaders/X.wgsl` with an entry point its declaration, its sizes and its dispatch, in `X.rs`.

pub(crate) mod attention;
pub(crate) mod dispatch;
pub(crate) mod elementwise;
#[cfg(feature = "bench")]
pub(crate) mod fma_peak;
pub(crate) mod forms;
pub(crate) mod linear;
pub(crate) mod params;
pub(crate) mod self_test;
#[cfg(feature = "training")]
pub(crate) mod training;

#[cfg(test)]
use crate::DType;
#[cfg(test)]
use crate::gpu::{Constant, Kernel, MatrixConfig};

#[cfg(test)]
pub(crate) mod tests;

/// Every kernel, with the constants of each of its variants. Those of layouts follow from the tables of forms.
#[cfg(test)]
fn all() -> Vec<(&'static Kernel, Vec<Variant>)> {
    let of_forms = [
        linear::forms::variants(),
        attention::forward::forms::variants(),
        attention::backward::forms::variants(),
    ];
    let mut kernels: Vec<(&'static Kernel, Vec<Variant>)> = Vec::new();
    for (kernel, variant) in of_forms.into_iter().flatten() {
        match kernels.iter_mut().find(|(known, _)| std::ptr::eq(*known, kernel)) {
            Some((_, variants)) => variants.push(variant),
            None => kernels.push((kernel, vec![variant])),
        }
    }
    kernels.extend(others());
    kernels
}

/// The kernels of one layout each.
#[cfg(test)]
fn others() -> Vec<(&'static Kernel, Vec<Variant>)> {
    vec![
        (&elementwise::cast::KERNEL, elementwise::cast::variants()),
        (&attention::masks::pack_mask::KERNEL, attention::masks::pack_mask::variants()),
        (&attention::masks::nonfinite_keys::KERNEL, attention::masks::nonfinite_keys::variants()),
        (&attention::forward::combine_splits::KERNEL, vec![Vec::new()]),
        (&attention::chained::scores::KERNEL, attention::chained::scores::variants()),
        (&attention::chained::softmax::KERNEL, vec![Vec::new()]),
        (&attention::chained::dropout::KERNEL, vec![Vec::new()]),
        (&attention::chained::weighted_values::KERNEL, attention::chained::weighted_values::variants()),
        (&elementwise::gate::KERNEL, vec![Vec::new()]),
        (&elementwise::gate_backward::KERNEL, vec![Vec::new()]),
        (&attention::masks::zero_nonfinite::KERNEL, vec![Vec::new()]),
        (&attention::backward::delta::KERNEL, attention::backward::delta::variants()),
        (&training::squared_error_backward::KERNEL, vec![Vec::new()]),
        (&elementwise::sums::KERNEL, elementwise::sums::variants()),
        (&elementwise::transpose::KERNEL, elementwise::transpose::variants()),
        (&training::l1_l2_backward::KERNEL, vec![Vec::new()]),
        (&training::normalize::KERNEL, vec![Vec::new()]),
        (&training::off_diagonal_sign::KERNEL, vec![Vec::new()]),
        (&training::normalize_backward::KERNEL, vec![Vec::new()]),
        (&training::sgd::KERNEL, training::sgd::variants()),
        (&training::adam::KERNEL, training::adam::variants()),
        (&training::constrain::KERNEL, training::constrain::variants()),
        (&fma_peak::KERNEL, fma_peak::variants()),
    ]
}

/// The constants of one variant.
#[cfg(test)]
type Variant = Vec<(&'static str, Constant)>;

/// The float types that kernels are specialised for.
#[cfg(test)]
const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

/// The kinds of cooperative matrices that kernels are specialised for.
#[cfg(test)]
const MATRIX_CONFIGS: [MatrixConfig; 3] = [
    MatrixConfig { size: 8, subgroup: 8, parts: 4 },
    MatrixConfig { size: 16, subgroup: 32, parts: 4 },
    MatrixConfig { size: 8, subgroup: 32, parts: 4 },
];
