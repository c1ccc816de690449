//! Which cases are measured, and how often.

use super::case::{Case, Extra, Sizes, Span};
use crate::DType;
use crate::kernels::linear::forms;
use crate::tuning::NamedForm as _;

/// A list of cases, and how much time they may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// `quick` or `full`.
    pub name: &'static str,
    /// What is measured, in this order. Those of a group stand together.
    pub cases: Vec<Case>,
    /// How often each case is timed, at least and at most.
    pub repetitions: (u32, u32),
    /// Seconds after which a case is not timed more often than it must be.
    pub case_seconds: f64,
    /// Seconds that the suite may take, beside measuring the adapter's limits. Where not all cases fit, the longest are
    /// skipped.
    pub seconds: f64,
    /// Whether kernels are [tuned](crate::Tuning) first, as calls do. Otherwise their forms are those remembered or by
    /// default: tuning takes seconds on a slow adapter.
    pub tuned: bool,
}

/// The groups of cases, in the order of the suites.
pub const GROUPS: [&str; 8] = ["layer", "causal", "prefill", "window", "mask", "decode", "scaling", "linear"];

const FULL: Span = Span { causal: false, window: None };
const CAUSAL: Span = Span { causal: true, window: None };

/// `window` keys up to each query's own, as Mistral has it.
const fn causal_window(window: usize) -> Span {
    Span { causal: true, window: Some(window) }
}

/// B, T, S, H, Hkv, D, C
const fn sizes([batch, query_len, key_len, query_heads, key_heads, head_dim, features]: [usize; 7]) -> Sizes {
    Sizes { batch, query_len, key_len, query_heads, key_heads, head_dim, features }
}

const L1: Sizes = sizes([1, 512, 512, 8, 2, 64, 512]);
const L2: Sizes = sizes([4, 128, 128, 8, 2, 32, 256]);
const L3: Sizes = sizes([1, 2048, 2048, 16, 4, 64, 1024]);
const A1: Sizes = sizes([1, 1024, 1024, 8, 2, 64, 0]);
const A2: Sizes = sizes([1, 2048, 2048, 16, 4, 64, 0]);
const A3: Sizes = sizes([1, 1, 4096, 32, 8, 128, 0]);
const A4: Sizes = sizes([1, 1024, 1024, 8, 2, 128, 0]);

const HALVES: [DType; 2] = [DType::F16, DType::Bf16];
const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

impl Suite {
    /// Under a minute on any adapter.
    pub fn quick() -> Self {
        Self {
            name: "quick",
            cases: cases(false),
            repetitions: (3, 10),
            case_seconds: 0.5,
            seconds: 45.0,
            tuned: false,
        }
    }

    /// Everything, more often.
    pub fn full() -> Self {
        Self {
            name: "full",
            cases: cases(true),
            repetitions: (5, 30),
            case_seconds: 5.0,
            seconds: 1800.0,
            tuned: true,
        }
    }

    /// The cases alone whose id or group contains `part`, whatever the letter case.
    pub fn only(mut self, part: &str) -> Self {
        let part = part.to_lowercase();
        self.cases.retain(|case| case.id.to_lowercase().contains(&part) || case.group.contains(&part));
        self
    }

    /// With each case timed exactly so often, but at least once. If that is more often than at most, the suite may take
    /// as much longer.
    pub fn repeated(mut self, repetitions: u32) -> Self {
        let repetitions = repetitions.max(1);
        self.seconds *= (f64::from(repetitions) / f64::from(self.repetitions.1.max(1))).max(1.0);
        self.repetitions = (repetitions, repetitions);
        self
    }

    /// Seconds that timing a case takes whose run takes `run` seconds.
    pub(super) fn seconds_of(&self, run: f64) -> f64 {
        let (least, most) = (f64::from(self.repetitions.0) * run, f64::from(self.repetitions.1) * run);
        most.min(self.case_seconds + run).max(least)
    }
}

/// Those of a suite, in the order of [`GROUPS`].
fn cases(full: bool) -> Vec<Case> {
    let mut all = Vec::new();
    for (name, sizes) in [("L1", L1), ("L2", L2), ("L3", L3)] {
        all.push(Case::layer(name, sizes, DType::F32));
        if full || name == "L1" {
            all.extend(HALVES.map(|dtype| Case::layer(name, sizes, dtype)));
        }
    }
    let attention = |group, name: &str, sizes, span, dtype| Case::attention(group, name, sizes, span, dtype);
    for (name, sizes) in [("A1", A1), ("A4", A4), ("A2", A2)] {
        all.push(attention("causal", name, sizes, CAUSAL, DType::F32));
        if full || name == "A1" {
            all.extend(HALVES.map(|dtype| attention("causal", name, sizes, CAUSAL, dtype)));
        }
    }
    for (name, sizes) in [("A1", A1), ("A2", A2)] {
        all.push(attention("prefill", name, sizes, FULL, DType::F32));
        if full {
            all.extend(HALVES.map(|dtype| attention("prefill", name, sizes, FULL, dtype)));
        }
    }
    if full {
        all.push(attention("prefill", "A4", A4, FULL, DType::F32));
    }
    let long = |length| Sizes { query_len: length, key_len: length, ..A1 };
    all.push(attention("window", "T2048-w256", long(2048), causal_window(256), DType::F32));
    if full {
        let symmetric = Span { causal: false, window: Some(256) };
        all.push(attention("window", "T2048-w256-symmetric", long(2048), symmetric, DType::F32));
        all.extend(
            HALVES.map(|dtype| attention("window", "T2048-w256", long(2048), causal_window(256), dtype)),
        );
    }
    for (name, extra) in [
        ("A1-attention-mask", Extra::AttentionMask),
        ("A1-key-mask", Extra::KeyMask),
        ("A1-dropout", Extra::Dropout),
    ] {
        all.push(Case { extra, ..attention("mask", name, A1, FULL, DType::F32) });
    }
    for dtype in FLOATS.into_iter().take(if full { 3 } else { 2 }) {
        all.push(attention("decode", "A3", A3, FULL, dtype));
    }
    if full {
        for length in [512, 32_768] {
            let name = format!("S{length}");
            all.push(attention("decode", &name, Sizes { key_len: length, ..A3 }, FULL, DType::F32));
        }
    }
    let lengths: &[usize] = if full { &[512, 1024, 2048, 4096, 8192] } else { &[1024, 4096] };
    for (name, span) in [("w256", causal_window(256)), ("full", FULL)] {
        for &length in lengths {
            let name = format!("T{length}-{name}");
            all.push(attention("scaling", &name, long(length), span, DType::F32));
        }
    }
    for (name, sizes) in [("L1", L1), ("L2", L2), ("L3", L3)] {
        all.extend(projections(name, sizes, full));
    }
    all
}

/// The projections of a layer, each shape once.
fn projections(layer: &str, sizes: Sizes, full: bool) -> Vec<Case> {
    let Sizes { batch, query_len, query_heads, key_heads, head_dim, features, .. } = sizes;
    let shapes = [
        ("query", features, query_heads * head_dim),
        ("key", features, key_heads * head_dim),
        ("output", query_heads * head_dim, features),
    ];
    let mut all: Vec<Case> = Vec::new();
    for (name, inputs, outputs) in shapes {
        let projection = Sizes {
            batch,
            query_len,
            query_heads: 1,
            head_dim: outputs,
            features: inputs,
            ..Sizes::default()
        };
        if all.iter().all(|case| case.sizes != projection) {
            let case = |dtype| Case::linear(&format!("{layer}-{name}"), projection, dtype);
            all.extend(FLOATS.into_iter().take(if full { 3 } else { 1 }).map(case));
            if full {
                let forms =
                    forms::FORMS.iter().filter(|form| !form.uses_matrices() && form.suits(batch * query_len));
                all.extend(forms.map(|form| case(DType::F32).in_form(form.name)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_groups_stand_together_in_order() {
        for suite in [Suite::quick(), Suite::full()] {
            let mut ids: Vec<_> = suite.cases.iter().map(|case| &case.id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), suite.cases.len());
            let mut groups: Vec<_> = suite.cases.iter().map(|case| case.group).collect();
            groups.dedup();
            assert_eq!(groups, GROUPS);
        }
    }

    #[test]
    fn what_is_in_both_suites_is_the_same_work() {
        let full = Suite::full();
        for case in Suite::quick().cases {
            assert_eq!(full.cases.iter().find(|other| other.id == case.id), Some(&case));
        }
    }

    #[test]
    fn a_part_of_an_id_or_a_group_picks_cases() {
        let ids = |part: &str| -> Vec<String> {
            Suite::quick().only(part).cases.into_iter().map(|case| case.id).collect()
        };
        assert_eq!(ids("CAUSAL/a1/F16"), ["attention/causal/A1/f16"]);
        assert_eq!(ids("decode"), ["attention/decode/A3/f32", "attention/decode/A3/f16"]);
        assert!(ids("nothing like it").is_empty());
    }

    #[test]
    fn titles_say_what_the_shape_is() {
        let suite = Suite::full();
        let title = |id: &str| suite.cases.iter().find(|case| case.id == id).map(|case| case.title.as_str());
        assert_eq!(title("attention/causal/A1/f32"), Some("A1 causal"));
        assert_eq!(title("attention/prefill/A2/f32"), Some("A2"));
        assert_eq!(title("attention/mask/A1-key-mask/f32"), Some("A1, key mask"));
        assert_eq!(title("attention/scaling/T4096-w256/f32"), Some("T4096 causal, window 256"));
        assert_eq!(title("attention/scaling/T4096-full/f32"), Some("T4096"));
        assert_eq!(title("linear/L3-key/f32"), Some("L3 key 2048×1024×256"));
    }
}
