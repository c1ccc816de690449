//! What unit tests and the tests of `tests/` share: the comparison, and which cases of a table run. Needs nothing of the
//! library, because both compile it as their own.

pub mod compare;
pub mod sampler;
