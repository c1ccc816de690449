//! The texts of `shaders/`.

/// A WGSL file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Its path below `shaders/`, without the extension.
    pub(crate) stem: &'static str,
    pub(crate) text: &'static str,
}

/// `source!("attention/visible")` is `shaders/attention/visible.wgsl`.
macro_rules! source {
    ($stem:literal) => {
        $crate::shaders::Source {
            stem: $stem,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $stem, ".wgsl")),
        }
    };
}

pub(crate) use source;

/// The files that others import.
const IMPORTED: &[Source] = &[
    source!("attention/blocks"),
    source!("attention/chained/rows"),
    source!("attention/dropout"),
    source!("attention/forward/interface"),
    source!("attention/nonfinite"),
    source!("attention/nonfinite_bits"),
    source!("attention/score"),
    source!("attention/visible"),
    source!("linear/interface"),
    source!("shared/elements"),
    source!("shared/grid"),
    source!("shared/halves"),
    source!("shared/numbers"),
    source!("shared/philox"),
    source!("shared/rounding"),
    source!("training/inverse_norm"),
    source!("training/update"),
];

/// The text of a file that others import.
pub(crate) fn text(stem: &str) -> Option<&'static str> {
    IMPORTED.iter().find(|source| source.stem == stem).map(|source| source.text)
}

/// The stems of the files that others import.
#[cfg(test)]
pub(crate) fn imported() -> impl Iterator<Item = &'static str> {
    IMPORTED.iter().map(|source| source.stem)
}
