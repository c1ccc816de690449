//! Each kernel against its declaration, against naga's writers, and against the reference.

mod attention_backward;
mod attention_case;
mod attention_forward;
mod attention_rows;
mod chained;
mod combine_splits;
// naga's writers and files; and browsers have no cooperative matrices.
#[cfg(not(target_arch = "wasm32"))]
mod declaration;
mod elementwise;
mod linear;
mod linear_case;
mod masks;
#[cfg(not(target_arch = "wasm32"))]
mod matrix;
mod optimizers;
#[cfg(target_arch = "wasm32")]
mod planted;
#[cfg(target_arch = "wasm32")]
mod shaders;
mod sums;
pub(crate) mod support;
mod training;
mod windows;

/// Whether a shader needs nothing that only some devices have: neither subgroups nor cooperative matrices.
fn is_portable(wgsl: &str) -> bool {
    !wgsl.contains("subgroup") && !has_matrices(wgsl)
}

/// Whether a shader uses cooperative matrices.
fn has_matrices(wgsl: &str) -> bool {
    wgsl.contains("coop_mat")
}
