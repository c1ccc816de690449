//! Masks as bits, and non-finite values.

pub(crate) mod nonfinite_keys;
pub(crate) mod pack_mask;
pub(crate) mod zero_nonfinite;
