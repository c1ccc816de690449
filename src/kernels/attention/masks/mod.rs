//! What is hidden: masks as bits, and values that are not finite.

pub(crate) mod nonfinite_keys;
pub(crate) mod pack_mask;
pub(crate) mod zero_nonfinite;
