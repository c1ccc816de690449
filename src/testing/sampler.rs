//! Which cases of a table run on an adapter.
//!
//! The main adapter runs whole tables. Adapters with `GQA_TEST_SAMPLE=SEED` and browsers run samples: nearly all their time
//! goes into pipelines, up to a second for each. A sample shows every trait of the table at least once; which cases show it
//! follows from the seed, so that adapters with different seeds run different cases.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// How much an adapter runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// In browsers.
    Least,
    /// On adapters beside the main one.
    Sample,
    /// On the main one.
    Whole,
}

impl Extent {
    /// What this adapter runs.
    pub fn here() -> Self {
        match seed() {
            None => Self::Whole,
            Some(_) if cfg!(target_arch = "wasm32") => Self::Least,
            Some(_) => Self::Sample,
        }
    }
}

/// Picks the cases of one table.
pub struct CaseSampler {
    state: u64,
    extent: Extent,
    shown: BTreeSet<String>,
}

impl CaseSampler {
    /// For the table of this name.
    pub fn new(table: &str) -> Self {
        Self::seeded(Extent::here(), seed().as_deref().unwrap_or("main"), table)
    }

    /// The same, for this extent and seed.
    pub fn seeded(extent: Extent, seed: &str, table: &str) -> Self {
        let text = format!("{seed} {table}");
        // FNV-1a.
        let state = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { state, extent, shown: BTreeSet::new() }
    }

    /// How much this adapter runs.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The cases in the order in which [`should_run`](Self::should_run) meets them: another one for each seed.
    pub fn order<T>(&mut self, cases: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut cases: Vec<_> = cases.into_iter().collect();
        if self.extent != Extent::Whole {
            self.shuffle(&mut cases);
        }
        cases
    }

    /// Whether a case of these traits runs. In a sample it does if one of them has not been shown.
    pub fn should_run<T: Into<String>>(&mut self, traits: impl IntoIterator<Item = T>) -> bool {
        let is_new = traits.into_iter().fold(false, |is_new, one| self.shown.insert(one.into()) | is_new);
        is_new || self.extent == Extent::Whole
    }

    /// Few cases that show together every trait of all of them, the cheaper of those that show as much. This thins a table
    /// on the main adapter too: where all its cases would show the same many times over, `traits` tells what is worth showing
    /// to which extent.
    pub fn cover<T>(
        &mut self,
        cases: impl IntoIterator<Item = T>,
        traits: impl Fn(&T, Extent) -> Vec<String>,
        cost: impl Fn(&T) -> usize,
    ) -> Vec<T> {
        let mut rest: Vec<_> = cases
            .into_iter()
            .map(|case| {
                let traits = traits(&case, self.extent);
                (case, traits)
            })
            .collect();
        self.shuffle(&mut rest);
        // The last of the best is taken.
        rest.sort_by_key(|(case, _)| Reverse(cost(case)));
        let mut picked = Vec::new();
        loop {
            let new = |(_, traits): &(T, Vec<String>)| {
                traits.iter().filter(|one| !self.shown.contains(*one)).count()
            };
            let best = (0..rest.len()).max_by_key(|&i| new(&rest[i])).filter(|&i| new(&rest[i]) > 0);
            let Some(best) = best else { return picked };
            let (case, traits) = rest.remove(best);
            self.shown.extend(traits);
            picked.push(case);
        }
    }

    /// The items in an order that follows from the seed.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, (self.next() % (end as u64 + 1)) as usize);
        }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }
}

/// What the sample of this adapter follows from, where it runs one.
fn seed() -> Option<String> {
    if cfg!(target_arch = "wasm32") {
        return Some("browser".into());
    }
    std::env::var("GQA_TEST_SAMPLE").ok().filter(|seed| !seed.is_empty())
}
