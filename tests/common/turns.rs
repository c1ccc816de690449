//! How much of a table of cases is run.

/// Goes through the cases of a table. Natively all are run, also on the adapter that Chromium has. Browsers take one in so
/// many: nearly all their time goes into pipelines, a second for each.
pub struct Turns {
    one_in: u32,
    past: u32,
}

impl Turns {
    /// With a number that has no factor in common with the columns of the table, each of them takes its turn.
    pub fn in_browsers_one_in(one_in: u32) -> Self {
        Self { one_in, past: 0 }
    }

    /// Whether the next case is run.
    pub fn next_is_run(&mut self) -> bool {
        let is_run = !cfg!(target_arch = "wasm32") || self.past.is_multiple_of(self.one_in);
        self.past += 1;
        is_run
    }
}
