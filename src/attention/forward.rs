//! Records the commands of attention, on either path.

use super::AttentionPath;
use super::plan::{AttentionPlan, PROBS_WORDS};
use crate::dropout::Dropout;
use crate::gpu::{BufferRange, Gpu, Operand, Pass, Tensor, Workspace};
use crate::kernels::attention::chained::scores::{Scores, scores};
use crate::kernels::attention::chained::{dropout, softmax, weighted_values};
use crate::kernels::attention::forward::{Operands, attention_forward};
use crate::kernels::attention::problem::Problem;
use crate::kernels::elementwise::cast::cast;
use crate::shapes::Queries;
use crate::{Error, Result, tuning};

/// The operands of a run of attention.
#[derive(Clone, Copy)]
pub(crate) struct AttentionOperands<'a> {
    /// `[B,T,H,D]`
    pub(crate) q: Operand<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) k: Operand<'a>,
    /// `[B,S,Hkv,D]`
    pub(crate) v: Operand<'a>,
    /// `[B,T,H,D]` f32
    pub(crate) out: BufferRange<'a>,
    /// `[B,H,T]` f32
    pub(crate) lse: BufferRange<'a>,
    /// Takes the probabilities before dropout: `[B,H,T,S]`.
    pub(crate) scores: Option<&'a Tensor>,
}

/// Results of [`AttentionPlan::record`].
pub(crate) struct Recorded {
    /// The form of the fused kernel, if that path was taken.
    pub(crate) form: Option<&'static str>,
    /// The problem, with the dropout of this call.
    pub(crate) problem: Problem,
    pub(crate) mask_bits: Workspace,
}

impl AttentionPlan<'_> {
    /// Records the run. `dropout` replaces the plan's, whose seed was not drawn yet.
    pub(crate) fn record(
        &self,
        pass: &mut Pass<'_>,
        dropout: Option<Dropout>,
        operands: &AttentionOperands<'_>,
    ) -> Result<Recorded> {
        let problem = Problem { dropout, ..self.problem };
        let mask_bits = self.masks.pack(pass, &problem.dims, operands.v)?;
        let form = match self.path {
            AttentionPath::Fused => Some(self.record_fused(pass, &problem, operands, mask_bits.range())?),
            AttentionPath::Chained => {
                record_chained(pass, &problem, operands, mask_bits.range())?;
                None
            }
        };
        Ok(Recorded { form, problem, mask_bits })
    }

    fn record_fused(
        &self,
        pass: &mut Pass<'_>,
        problem: &Problem,
        operands: &AttentionOperands<'_>,
        mask_bits: BufferRange<'_>,
    ) -> Result<&'static str> {
        let form = tuning::form(&self.forward(), pass.gpu());
        let form = form.ok_or_else(|| Error::argument(self.operation, "path", "Chained", "Fused"))?;
        let AttentionOperands { q, k, v, out, lse, .. } = *operands;
        attention_forward(pass, problem, &Operands { q, k, v, mask_bits, out, lse }, form)?;
        Ok(form.name)
    }
}

fn record_chained(
    pass: &mut Pass<'_>,
    problem: &Problem,
    operands: &AttentionOperands<'_>,
    mask_bits: BufferRange<'_>,
) -> Result<()> {
    let dims = &problem.dims;
    let ranges = query_ranges(pass.gpu(), problem, operands.scores.is_some());
    let rows = (dims.batch * dims.query_heads) as u64; // B·H
    let longest = ranges.iter().map(|queries| queries.count).max().unwrap_or(0);
    let probs = pass.workspace("probs", rows * longest as u64 * dims.key_len as u64);
    let AttentionOperands { q, k, v, out, lse, .. } = *operands;

    for queries in ranges {
        scores(pass, problem, queries, &Scores { q, k, mask_bits, scores: probs.range() })?;
        softmax::softmax(pass, dims, queries, probs.range(), lse)?;
        if let Some(scores) = operands.scores {
            let count = scores.shape().iter().product();
            cast(pass, Operand::f32(probs.range()), scores.operand(), count)?;
        }
        if problem.dropout.is_some() {
            dropout::dropout(pass, problem, queries, probs.range())?;
        }
        weighted_values::weighted_values(pass, problem, queries, probs.range(), v, out)?;
    }
    Ok(())
}

/// Ranges of queries to run one after the other, so that their probabilities fit the adapter; a single range if scores are
/// returned. The plan has checked that such ranges exist.
fn query_ranges(gpu: &Gpu, problem: &Problem, scores: bool) -> Vec<Queries> {
    let dims = &problem.dims;
    if scores {
        return vec![Queries { begin: 0, count: dims.query_len }];
    }
    let one_query = (dims.batch * dims.query_heads * dims.key_len) as u64;
    let most = (gpu.binding_limits().bytes / 4).min(PROBS_WORDS).max(one_query);
    dims.query_ranges(most).into_iter().flatten().collect()
}
