//! The kernels of the chained path: scores, softmax, dropout, weighted values.

pub(crate) mod dropout;
pub(crate) mod scores;
pub(crate) mod softmax;
pub(crate) mod weighted_values;

/// Rows and columns per invocation of the register-blocked kernels.
const BLOCK: u32 = 8;

/// Results per workgroup of those kernels: 8 rows × 8 columns of each of 8 lanes.
const TILE_OUTPUTS: u32 = BLOCK * BLOCK * 8;
