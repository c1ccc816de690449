//! The texts of `shaders/`.

/// A WGSL file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Its path below `shaders/`, without the extension.
    pub(crate) stem: &'static str,
    pub(crate) text: &'static str,
}

/// `source!("attention/visible")` is `shaders/attention/visible.wgsl`. In browsers it has no comments, which would be a hundredth
/// of the module; lines keep their numbers.
macro_rules! source {
    ($stem:literal) => {{
        const TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $stem, ".wgsl"));
        #[cfg(target_arch = "wasm32")]
        const BYTES: [u8; $crate::shaders::length_without_comments(TEXT)] =
            $crate::shaders::without_comments(TEXT);
        #[cfg(target_arch = "wasm32")]
        const TEXT_OR_LESS: &str = match str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => TEXT,
        };
        #[cfg(not(target_arch = "wasm32"))]
        const TEXT_OR_LESS: &str = TEXT;
        $crate::shaders::Source { stem: $stem, text: TEXT_OR_LESS }
    }};
}

pub(crate) use source;

/// The index behind a comment that begins at `at`, or `at`.
#[cfg(any(test, target_arch = "wasm32"))]
const fn behind_comment(text: &[u8], at: usize) -> usize {
    let mut end = at;
    if at + 1 < text.len() && text[at] == b'/' && text[at + 1] == b'/' {
        while end < text.len() && text[end] != b'\n' {
            end += 1;
        }
    }
    end
}

/// Bytes of a text without its comments.
#[cfg(any(test, target_arch = "wasm32"))]
pub(crate) const fn length_without_comments(text: &str) -> usize {
    let text = text.as_bytes();
    let (mut at, mut length) = (0, 0);
    loop {
        at = behind_comment(text, at);
        if at == text.len() {
            return length;
        }
        length += 1;
        at += 1;
    }
}

/// A text without its comments, `N` being its [length](length_without_comments).
#[cfg(any(test, target_arch = "wasm32"))]
pub(crate) const fn without_comments<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    let mut left = [0; N];
    let (mut at, mut length) = (0, 0);
    while length < N {
        at = behind_comment(text, at);
        left[length] = text[at];
        length += 1;
        at += 1;
    }
    left
}

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
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) fn imported() -> impl Iterator<Item = &'static str> {
    IMPORTED.iter().map(|source| source.stem)
}

#[cfg(test)]
mod tests {
    use super::{length_without_comments, without_comments};

    #[test]
    fn comments_go_and_lines_stay() {
        const TEXT: &str = "// [B,T] · é\na / b; // c\n\n/// d\ne";
        const BYTES: [u8; length_without_comments(TEXT)] = without_comments(TEXT);
        assert_eq!(str::from_utf8(&BYTES), Ok("\na / b; \n\n\ne"));
    }
}
