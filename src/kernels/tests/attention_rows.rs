//! Rows of the tables of attention cases, and which forms and rules each of them meets.

use super::support::*;
use crate::DType;

/// A row of a table of cases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// B, T, S, H, Hkv, D
    pub(super) sizes: [usize; 6],
    /// The type of q, and that of k and v.
    pub(super) types: [DType; 2],
    pub(super) dropout: bool,
    /// Whether anything hides keys from queries. Where nothing does, nothing looks for NaN behind it.
    pub(super) hides: bool,
}

impl Row {
    /// A call in f32 without dropout.
    pub(super) const fn new(name: &'static str, sizes: [usize; 6]) -> Self {
        Self { name, sizes, types: [DType::F32; 2], dropout: false, hides: true }
    }

    pub(super) const fn types(self, q: DType, k: DType) -> Self {
        Self { types: [q, k], ..self }
    }

    pub(super) const fn dropout(self) -> Self {
        Self { dropout: true, ..self }
    }

    pub(super) const fn hides_nothing(self) -> Self {
        Self { hides: false, ..self }
    }

    /// The sets of rules that it is run under.
    pub(super) fn rules(&self, sets: &mut impl Iterator<Item = Rules>, extent: Extent) -> Vec<Rules> {
        if !self.hides {
            return vec![Vec::new()];
        }
        sets.take(self.runs(extent)).collect()
    }

    fn runs(&self, extent: Extent) -> usize {
        let [_, t, s, ..] = self.sizes;
        match extent {
            // Long ones take a while on the reference.
            _ if t.max(s) > 1000 => 3,
            Extent::Whole => 12,
            Extent::Sample | Extent::Least => 5,
        }
    }

    /// What it is a case of, run in this form.
    fn traits(&self, form: &str, extent: Extent) -> Vec<String> {
        let Self { name, sizes: [.., d], types: [q, k], dropout, hides } = *self;
        let is_aligned = d % 4 == 0;
        let split = if form.contains("split") { "split" } else { "" };
        let kind = form.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned() + split;
        let mut all = vec![
            format!("{kind}, dropout {dropout}"),
            format!("{kind}, hides {hides}"),
            format!("dropout {dropout}, aligned {is_aligned}"),
            format!("q {q}"),
            format!("k {k}"),
        ];
        if extent >= Extent::Sample {
            all.extend([form.into(), format!("{kind}, aligned {is_aligned}")]);
        }
        if extent == Extent::Whole {
            all.extend([
                name.into(),
                format!("{form}, dropout {dropout}"),
                format!("{form}, aligned {is_aligned}"),
                format!("{kind}, q {q}"),
                format!("{kind}, k {k}"),
                format!("q {q}, k {k}"),
            ]);
        }
        all
    }
}

/// The rows of a table that run here, each with the forms that it runs in: few of those that fit, which show together what
/// all of them would. A row that fits no form is told.
pub(super) fn with_forms<F: Copy>(
    sampler: &mut CaseSampler,
    table: &[Row],
    forms: impl IntoIterator<Item = F>,
    name: impl Fn(&F) -> String,
    fits: impl Fn(&Row, &F) -> bool,
) -> Vec<(Row, Vec<F>)> {
    let forms: Vec<F> = forms.into_iter().collect();
    let mut pairs = Vec::new();
    for row in table {
        let before = pairs.len();
        pairs.extend(forms.iter().filter(|form| fits(row, form)).map(|form| (*row, *form)));
        assert!(pairs.len() > before, "no form fits `{}`", row.name);
    }
    let traits = |(row, form): &(Row, F), extent| row.traits(&name(form), extent);
    // Wide heads take long to compile.
    let picked = sampler.cover(pairs, traits, |(row, _)| row.sizes[5]);
    let of_row = |row: &Row| {
        let forms: Vec<F> =
            picked.iter().filter(|(other, _)| other.name == row.name).map(|(_, form)| *form).collect();
        (!forms.is_empty()).then_some((*row, forms))
    };
    table.iter().filter_map(of_row).collect()
}

/// What may hide keys from queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Causal,
    Window,
    Offset,
    AttentionMask,
    QueryMask,
    KeyMask,
}

impl Rule {
    const ALL: [Self; 6] =
        [Self::Causal, Self::Window, Self::Offset, Self::AttentionMask, Self::QueryMask, Self::KeyMask];
}

/// Rules that hold together.
pub(super) type Rules = Vec<Rule>;

/// Every set of rules but that of none, in the order of the table's sampler, over and over.
pub(super) fn sets_of_rules(sampler: &mut CaseSampler) -> impl Iterator<Item = Rules> + use<> {
    let mut sets: Vec<Rules> = (1..1 << Rule::ALL.len())
        .map(|bits: u32| {
            let is_in = |(i, rule): (usize, Rule)| (bits >> i & 1 == 1).then_some(rule);
            Rule::ALL.into_iter().enumerate().filter_map(is_in).collect()
        })
        .collect();
    sampler.shuffle(&mut sets);
    sets.into_iter().cycle()
}
