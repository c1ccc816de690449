//! The benchmark suite: shapes that matter, timed on one adapter beside that adapter's own measured limits.
//!
//! [`run`] measures a [`Suite`] and gives [`BenchResults`], which is serialized to JSON. It runs in browsers too: it waits
//! asynchronously, and touches neither threads nor files.

mod batch;
mod case;
mod prepared;
mod record;
mod results;
mod roofline;
mod run;
mod spread;
mod suite;
mod timer;
mod work;

pub use case::{Case, Extra, Sizes, Span};
pub use results::{
    AdapterRecord, BenchResults, FORMAT_VERSION, Host, Roofline, Row, RowKind, Spread, Timing,
};
pub use run::{Cause, Interrupted, News, Progress, run};
pub use suite::{GROUPS, Suite};

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
