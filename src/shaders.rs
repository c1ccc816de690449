//! The texts of `shaders/`, by stem.

macro_rules! files {
    ($($stem:literal),* $(,)?) => {
        /// Every WGSL file: its stem below `shaders/`, and its text. A test compares the list with the folder.
        const FILES: &[(&str, &str)] = &[$(($stem, include_str!(concat!("../shaders/", $stem, ".wgsl")))),*];
    };
}

files![
    "attention/backward/delta",
    "attention/backward/lanes",
    "attention/blocks",
    "attention/chained/dropout",
    "attention/chained/rows",
    "attention/chained/scores",
    "attention/chained/softmax",
    "attention/chained/weighted_values",
    "attention/dropout",
    "attention/forward/combine_splits",
    "attention/forward/interface",
    "attention/forward/lanes",
    "attention/forward/matrix",
    "attention/masks/nonfinite_keys",
    "attention/masks/pack_mask",
    "attention/masks/zero_nonfinite",
    "attention/nonfinite",
    "attention/nonfinite_bits",
    "attention/score",
    "attention/visible",
    "elementwise/cast",
    "elementwise/gate",
    "elementwise/gate_backward",
    "elementwise/sums",
    "elementwise/transpose",
    "fma_peak",
    "linear/interface",
    "linear/lanes",
    "linear/matrix",
    "shared/elements",
    "shared/grid",
    "shared/halves",
    "shared/numbers",
    "shared/philox",
    "shared/rounding",
    "training/adam",
    "training/constrain",
    "training/inverse_norm",
    "training/l1_l2_backward",
    "training/normalize",
    "training/normalize_backward",
    "training/off_diagonal_sign",
    "training/sgd",
    "training/squared_error_backward",
    "training/update",
];

/// The text of the file of this stem, such as `attention/visible`.
pub(crate) fn text(stem: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == stem).map(|(_, text)| *text)
}

/// The stems of all files.
#[cfg(test)]
pub(crate) fn stems() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(stem, _)| *stem)
}
