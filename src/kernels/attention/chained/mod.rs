//! Attention in steps: scores, softmax, dropout, weighted values.

pub(crate) mod dropout;
pub(crate) mod scores;
pub(crate) mod softmax;
pub(crate) mod weighted_values;

/// Rows and columns that one invocation of the register-blocked kernels computes.
const BLOCK: u32 = 8;

/// Results of one workgroup of those kernels: 8 rows × 8 columns of each of 8 lanes.
const TILE_OUTPUTS: u32 = BLOCK * BLOCK * 8;
