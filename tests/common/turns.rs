//! How much of a table of cases is run.

/// Goes through the cases of a table. All are run natively, unless `GQA_TEST_CASES` is `some`, as `cargo xtask test` sets it
/// for the adapters beside the main one: they take one in five at most. Browsers take one in as many as the table says:
/// nearly all their time goes into pipelines, a second for each.
pub struct Turns {
    one_in: u32,
    past: u32,
}

impl Turns {
    /// With a number that has no factor in common with the columns of the table, each of them takes its turn.
    pub fn in_browsers_one_in(in_browsers: u32) -> Self {
        let one_in = if cfg!(target_arch = "wasm32") {
            in_browsers
        } else if some_cases() {
            in_browsers.min(5)
        } else {
            1
        };
        Self { one_in, past: 0 }
    }

    /// Whether the next case is run.
    pub fn next_is_run(&mut self) -> bool {
        let is_run = self.past.is_multiple_of(self.one_in);
        self.past += 1;
        is_run
    }
}

/// Whether this adapter is one beside the main one.
pub fn some_cases() -> bool {
    std::env::var("GQA_TEST_CASES").as_deref() == Ok("some")
}
