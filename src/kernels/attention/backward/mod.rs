//! The gradients of attention: dq, dk and dv from q, k, v, d_out, and the lse and delta of each query.

pub(crate) mod delta;
mod dispatch;
pub(crate) mod forms;
mod interface;
pub(crate) mod lanes;

use super::problem::Problem;
use crate::Result;
use crate::gpu::{Class, Gpu, Pass, Workspace};
use crate::tuning::{Tunable, buffers};
pub(crate) use dispatch::attention_backward;
pub(crate) use interface::{Form, Operands, Role};

/// The tunable problem of one role of the gradients of attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backward {
    pub(crate) problem: Problem,
    pub(crate) role: Role,
}

/// Scratch operands of a reduced problem.
pub(crate) struct Scratch {
    problem: Problem,
    /// q, d_out, k, v, stats, mask bits, dq, dk, dv.
    buffers: [Workspace; 9],
}

impl Backward {
    fn rows(&self) -> usize {
        self.role.extent(&self.problem).0
    }
}

impl Tunable for Backward {
    type Form = Form;
    type Scratch = Scratch;

    fn forms() -> impl Iterator<Item = Form> {
        forms::FORMS.iter().copied()
    }

    fn class(&self, _: &Gpu) -> Class {
        let Problem { dims, visibility, dropout, .. } = &self.problem;
        let (rows, columns, heads) = self.role.extent(&self.problem);
        Class::new(lanes::KERNEL.name)
            .of_type("f32")
            .exact("D", dims.head_dim)
            .size("rows", rows)
            .size("columns", columns * heads)
            .size("heads", dims.batch * dims.key_heads)
            .flag("keys", self.role == Role::Keys)
            .flag("causal", visibility.is_causal())
            .flag("window", visibility.has_window())
            .flag("masked", visibility.has_masks())
            .flag("dropout", dropout.is_some())
    }

    fn fits(&self, gpu: &Gpu, form: Form) -> bool {
        form.fits(self.role, self.problem.dims.head_dim, &gpu.capabilities(None))
    }

    fn suits(&self, gpu: &Gpu, form: Form) -> bool {
        form.layout.is_candidate_on(gpu.kind()) && form.suits(self.rows(), self.problem.dims.head_dim)
    }

    fn default_form(&self, gpu: &Gpu) -> Option<Form> {
        let device = gpu.capabilities(None);
        forms::default_form(self.role, self.rows(), self.problem.dims.head_dim, &device)
    }

    /// A fixed form that does not fit is not replaced by the default: the call fails.
    fn accepts(&self, _: &Gpu, _: Form) -> bool {
        true
    }

    async fn scratch(&self, gpu: &Gpu) -> Result<Scratch> {
        let problem = self.problem.sample(gpu, self.role.products());
        let dims = problem.dims;
        let queries = (dims.batch * dims.query_len * dims.query_heads) as u64;
        let q = queries * dims.head_dim as u64;
        let k = (dims.batch * dims.key_len * dims.key_heads * dims.head_dim) as u64;
        let words = [q, q, k, k, 2 * queries, 1, q, k, k];
        Ok(Scratch { problem, buffers: buffers(gpu, words).await? })
    }

    fn record(&self, pass: &mut Pass<'_>, scratch: &Scratch, form: Form) -> Result<()> {
        let [q, d_out, k, v, stats, mask_bits, dq, dk, dv] = scratch.buffers.each_ref().map(Workspace::range);
        let operands = Operands { q, d_out, k, v, stats, mask_bits, dq, dk, dv };
        attention_backward(pass, &scratch.problem, &operands, self.role, form)
    }
}
