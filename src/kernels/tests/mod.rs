//! Each kernel against its declaration, against naga's writers, and against the reference.

mod attention_case;
mod attention_forward;
#[path = "../../../tests/common/compare.rs"]
#[allow(unreachable_pub)]
mod compare;
mod declaration;
mod matrix;
mod numbers;
pub(crate) mod support;
mod training;
mod windows;
