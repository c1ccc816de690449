//! The problem of attention, common to all its kernels: dimensions, visibility, score rule and dropout.

use super::dropout::DropoutRule;
use super::score::Score;
use super::visible::Visibility;
use crate::dropout::Dropout;
use crate::gpu::Parameters;
use crate::kernels::params::params;
use crate::shapes::Dims;
use crate::tuning;

/// The problem of one run of attention. Forward and backward, fused and chained kernels share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Problem {
    pub(crate) dims: Dims,
    pub(crate) visibility: Visibility,
    pub(crate) score: Score,
    pub(crate) dropout: Option<Dropout>,
}

params! {
    /// A [`Problem`] in the uniform block of a kernel.
    pub(crate) struct ProblemParams {
        visibility: Visibility,
        score: Score,
        dropout: DropoutRule,
        /// T
        query_len: u32,
        /// S
        key_len: u32,
        /// H
        query_heads: u32,
        /// Hkv
        key_heads: u32,
    }
}

impl Problem {
    /// The problem as a field of a kernel's uniform block.
    pub(crate) fn params(&self) -> ProblemParams {
        ProblemParams {
            visibility: self.visibility,
            score: self.score,
            dropout: DropoutRule::new(self.dropout),
            query_len: self.dims.query_len as u32,
            key_len: self.dims.key_len as u32,
            query_heads: self.dims.query_heads as u32,
            key_heads: self.dims.key_heads as u32,
        }
    }

    /// A kernel's parameters, including those of the problem. With dropout they are passing: no other call has the same seed.
    pub(crate) fn parameters<'p, P: bytemuck::Pod>(&self, params: &'p P) -> Parameters<'p> {
        Parameters::of(params, self.dropout.is_some())
    }

    /// Whether a key may be hidden from a query or dropped, so that non-finite values must be kept out.
    pub(crate) fn may_hide(&self) -> bool {
        self.visibility.hides() || self.dropout.is_some()
    }

    /// Rows of one key/value head's group, per batch element: the pairs (t, g).
    pub(crate) fn group_rows(&self) -> usize {
        self.dims.query_len * self.dims.group_size()
    }

    /// A reduced problem of the same class for measuring on scratch buffers, without masks: large ones get fewer heads, then
    /// fewer queries and keys. `products` is the number of multiply-adds per pair of query and key, in units of D.
    pub(crate) fn sample(&self, gpu: &crate::Gpu, products: u64) -> Self {
        let dims = tuning::smaller(gpu, self.dims, |dims| {
            products
                * (dims.batch * dims.query_heads * dims.query_len * dims.head_dim) as u64
                * dims.key_len as u64
        });
        Self {
            dims,
            visibility: self.visibility.without_masks(),
            score: self.score,
            dropout: self.dropout.map(|_| Dropout { probability: 0.1, ..Dropout::default() }),
        }
    }
}
