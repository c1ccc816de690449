//! One thing to measure, as data.

use super::RowKind;
use crate::{Config, DType};

/// One thing to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Names the case on every machine, such as `attention/causal/A1/f32`.
    pub id: String,
    /// What is run.
    pub kind: RowKind,
    /// One of [`GROUPS`](super::GROUPS).
    pub group: &'static str,
    /// A short title for people.
    pub title: String,
    /// The type of inputs, weights and outputs.
    pub dtype: DType,
    /// The dimensions.
    pub sizes: Sizes,
    /// Which products the work leaves out.
    pub span: Span,
    /// What else attention has to do.
    pub extra: Extra,
    /// The form of a projection's kernel, one of [`forms`](crate::forms). `None` is the one that calls take.
    pub form: Option<&'static str>,
}

/// The dimensions of a case, as the crate's documentation names them. A projection is x `[B,T,C]` · w `[C,H,D]`, without S
/// and Hkv.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// B
    pub batch: usize,
    /// T
    pub query_len: usize,
    /// S
    pub key_len: usize,
    /// H
    pub query_heads: usize,
    /// Hkv
    pub key_heads: usize,
    /// D
    pub head_dim: usize,
    /// C
    pub features: usize,
}

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Query t sees keys s ≤ t only.
    pub causal: bool,
    /// Query t sees keys with |t − s| below this only.
    pub window: Option<usize>,
}

/// What attention has to do beside products and softmax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extra {
    /// Nothing.
    #[default]
    Nothing,
    /// A boolean mask `[T,S]` that hides one product in four, scattered.
    AttentionMask,
    /// A boolean mask `[B,S]` that hides one key in eight, scattered.
    KeyMask,
    /// Dropout of one probability in ten.
    Dropout,
}

impl Case {
    pub(super) fn layer(name: &str, sizes: Sizes, dtype: DType) -> Self {
        Self {
            id: format!("layer/{name}/{dtype}"),
            kind: RowKind::Layer,
            group: "layer",
            title: format!("{name} causal"),
            dtype,
            sizes,
            span: Span { causal: true, window: None },
            extra: Extra::Nothing,
            form: None,
        }
    }

    pub(super) fn attention(group: &'static str, name: &str, sizes: Sizes, span: Span, dtype: DType) -> Self {
        let about = match (span.causal, span.window) {
            (true, None) => " causal".into(),
            (false, None) => String::new(),
            (true, Some(window)) => format!(" causal, window {window}"),
            (false, Some(window)) => format!(" window {window}"),
        };
        // What follows a dash says the same in short.
        let shape = name.split('-').next().unwrap_or(name);
        let extra =
            name.strip_prefix("A1-").map_or(String::new(), |extra| format!(", {}", extra.replace('-', " ")));
        Self {
            id: format!("attention/{group}/{name}/{dtype}"),
            kind: RowKind::Attention,
            group,
            title: format!("{shape}{about}{extra}"),
            dtype,
            sizes,
            span,
            extra: Extra::Nothing,
            form: None,
        }
    }

    /// x `[B,T,C]` · w `[C,D]` + bias `[D]`
    pub(super) fn linear(name: &str, sizes: Sizes, dtype: DType) -> Self {
        let [m, k, n] = [sizes.batch * sizes.query_len, sizes.features, sizes.head_dim];
        Self {
            id: format!("linear/{name}/{dtype}"),
            kind: RowKind::Linear,
            group: "linear",
            title: format!("{} {m}×{k}×{n}", name.replace('-', " ")),
            dtype,
            sizes,
            span: Span::default(),
            extra: Extra::Nothing,
            form: None,
        }
    }

    /// The same work, in one form of the kernel.
    pub(super) fn in_form(self, form: &'static str) -> Self {
        Self {
            id: format!("{}/{}", self.id, form.replace(' ', "-")),
            title: format!("{}, {form}", self.title),
            form: Some(form),
            ..self
        }
    }

    /// The configuration of a layer of this case.
    pub(super) fn config(&self) -> Config {
        let Sizes { query_heads, key_heads, head_dim, .. } = self.sizes;
        let dtype = match self.dtype {
            DType::F16 => crate::DTypePolicy::Float16,
            DType::Bf16 => crate::DTypePolicy::Bfloat16,
            DType::F32 | DType::Bool => crate::DTypePolicy::Float32,
        };
        Config { dtype, sliding_window: self.span.window, ..Config::new(head_dim, query_heads, key_heads) }
    }
}
