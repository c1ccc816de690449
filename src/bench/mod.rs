//! The benchmark suite: shapes that matter, timed on one adapter beside that adapter's own measured limits.

mod results;

pub use results::{
    AdapterRecord, BenchResults, FORMAT_VERSION, Host, Roofline, Row, RowKind, Spread, Timing,
};
