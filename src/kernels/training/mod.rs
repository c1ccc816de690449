//! Kernels of regularizers, losses, constraints and optimizers.

pub(crate) mod adam;
pub(crate) mod constrain;
pub(crate) mod l1_l2_backward;
pub(crate) mod normalize;
pub(crate) mod normalize_backward;
pub(crate) mod off_diagonal_sign;
pub(crate) mod sgd;
pub(crate) mod squared_error_backward;
