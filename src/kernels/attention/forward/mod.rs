//! Fused attention: out and lse from q, k and v in one pass over the keys.

pub(crate) mod combine_splits;
mod dispatch;
pub(crate) mod forms;
mod interface;
pub(crate) mod lanes;
pub(crate) mod matrix;

use super::masks::nonfinite_keys;
use super::problem::Problem;
use crate::gpu::{Class, Gpu, MatrixConfig, Operand, Pass, Workspace};
use crate::tuning::{NamedForm as _, Tunable, buffers};
use crate::{DType, Result};
pub(crate) use dispatch::attention_forward;
pub(crate) use interface::{Form, Operands};

/// The tunable problem of fused attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forward {
    pub(crate) problem: Problem,
    /// The types of q, k and v.
    pub(crate) types: [DType; 3],
    /// Whether the caller's data are f16, so that operands held in f32 may be rounded to it.
    pub(crate) half: bool,
}

/// Scratch operands of a reduced problem.
pub(crate) struct Scratch {
    problem: Problem,
    /// q, k, v, out, lse and mask bits.
    buffers: [Workspace; 6],
}

impl Forward {
    /// Whether q, k and v may be rounded to f16.
    pub(crate) fn may_use_matrices(&self) -> bool {
        self.half && !self.types.contains(&DType::Bf16)
    }

    /// The cooperative matrices that the problem may use.
    fn matrix(&self, gpu: &Gpu) -> Option<MatrixConfig> {
        if self.may_use_matrices() { gpu.tested_matrix() } else { None }
    }
}

impl Tunable for Forward {
    type Form = Form;
    type Scratch = Scratch;

    fn forms() -> impl Iterator<Item = Form> {
        forms::FORMS.iter().copied()
    }

    fn class(&self, gpu: &Gpu) -> Class {
        let Problem { dims, visibility, dropout, .. } = &self.problem;
        let [q, k, v] = self.types.map(DType::name);
        Class::new(lanes::KERNEL.name)
            .of_type(q)
            .of_type(k)
            .of_type(v)
            .exact("D", dims.head_dim)
            .size("rows", self.problem.group_rows())
            .size("S", dims.key_len)
            .size("heads", dims.batch * dims.key_heads)
            .flag("causal", visibility.is_causal())
            .flag("window", visibility.has_window())
            .flag("masked", visibility.has_masks())
            .flag("dropout", dropout.is_some())
            .flag("cooperative-matrix", self.matrix(gpu).is_some())
    }

    fn fits(&self, gpu: &Gpu, form: Form) -> bool {
        form.fits(self.problem.dims.head_dim, &gpu.capabilities(self.matrix(gpu)))
    }

    fn suits(&self, gpu: &Gpu, form: Form) -> bool {
        form.layout.is_candidate_on(gpu.kind()) && form.suits(&self.problem.dims)
    }

    fn default_form(&self, gpu: &Gpu) -> Option<Form> {
        forms::default_form(&self.problem.dims, &gpu.capabilities(None))
    }

    /// If the heads are too wide for a fixed form, the call fails instead of taking another. But cooperative matrices are for
    /// f16 only: other operands take the default form.
    fn accepts(&self, gpu: &Gpu, form: Form) -> bool {
        !form.uses_matrices() || self.matrix(gpu).is_some()
    }

    async fn scratch(&self, gpu: &Gpu) -> Result<Scratch> {
        let mut problem = self.problem.sample(gpu, 2);
        if self.problem.may_hide() {
            problem.visibility = problem.visibility.with_nonfinite_keys(0, &problem.dims);
        }
        let dims = problem.dims;
        let queries = dims.batch * dims.query_len * dims.query_heads;
        let keys = dims.batch * dims.key_len * dims.key_heads * dims.head_dim;
        let [q, k, v] = self.types;
        let words = [
            q.words(queries * dims.head_dim),
            k.words(keys),
            v.words(keys),
            (queries * dims.head_dim) as u64,
            queries as u64,
            nonfinite_keys::words(&dims) as u64,
        ];
        Ok(Scratch { problem, buffers: buffers(gpu, words).await? })
    }

    fn record(&self, pass: &mut Pass<'_>, scratch: &Scratch, form: Form) -> Result<()> {
        let [q, k, v, out, lse, mask_bits] = scratch.buffers.each_ref().map(Workspace::range);
        let [q_type, k_type, v_type] = self.types;
        let operands = Operands {
            q: Operand { range: q, dtype: q_type },
            k: Operand { range: k, dtype: k_type },
            v: Operand { range: v, dtype: v_type },
            mask_bits,
            out,
            lse,
        };
        attention_forward(pass, &scratch.problem, &operands, form)
    }
}
