//! Fused attention: out and lse from q, k and v in one pass over the keys.

use bytemuck::{Pod, Zeroable};

use super::{ELEMENTS, GRID, LOOP_LIMIT, PHILOX, VISIBLE, WEIGH, element_constant, tile_ranges};
use crate::dropout::Dropout;
use crate::gpu::{Binding, Constant, Kernel, Pass, Slot};
use crate::mask::Visibility;
use crate::shapes::Dims;
use crate::{DType, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "attention_forward",
    sources: &[GRID, ELEMENTS, PHILOX, VISIBLE, WEIGH, include_str!("../../shaders/attention_forward.wgsl")],
    bindings: &[
        Binding::Uniform("params"),
        Binding::Read("q"),
        Binding::Read("k"),
        Binding::Read("v"),
        Binding::Read("mask_bits"),
        Binding::Write("out"),
        Binding::Write("lse"),
        Binding::Write("state"),
    ],
    workgroup_size: 64,
    params_size: size_of::<Params>(),
};

/// The widest heads that it takes.
const MAX_HEAD_DIM: usize = 256;

/// Whether heads of this width are taken on a device with these limits.
pub(crate) fn fits(head_dim: usize, limits: &wgpu::Limits) -> bool {
    head_dim <= MAX_HEAD_DIM
        && workgroup_bytes(head_dim) <= limits.max_compute_workgroup_storage_size as usize
        && KERNEL.workgroup_size <= limits.max_compute_invocations_per_workgroup
        && KERNEL.bindings.len() - 1 <= limits.max_storage_buffers_per_shader_stage as usize
}

/// Workgroup memory: a block of k, one of v, and a flag.
fn workgroup_bytes(head_dim: usize) -> usize {
    key_block(head_dim) * head_dim.div_ceil(4) * 16 * 2 + 16
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    visibility: Visibility,
    query_len: u32,
    key_len: u32,
    query_heads: u32,
    key_heads: u32,
    scale: f32,
    tiles_row: u32,
    tile_begin: u32,
    tile_end: u32,
    key_begin: u32,
    key_end: u32,
    dropout_q_offset: u32,
    dropout_batch_offset: u32,
    dropout_threshold: u32,
    seed_low: u32,
    seed_high: u32,
    keep_scale: f32,
}

/// The operands of fused attention.
pub(crate) struct AttentionForward<'a> {
    /// q `[B,T,H,D]`
    pub(crate) q: (Slot<'a>, DType),
    /// k `[B,S,Hkv,D]`
    pub(crate) k: (Slot<'a>, DType),
    /// v `[B,S,Hkv,D]`
    pub(crate) v: (Slot<'a>, DType),
    /// What [`Masks::pack`](crate::mask::Masks::pack) gives.
    pub(crate) masks: (Visibility, Slot<'a>),
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
    /// out `[B,T,H,D]` f32
    pub(crate) out: Slot<'a>,
    /// lse `[B,H,T]` f32
    pub(crate) lse: Slot<'a>,
    /// row_max and row_sum `[B,H,T,2]` f32, between dispatches.
    pub(crate) state: Slot<'a>,
}

/// Keys whose k and v are in workgroup memory at a time: 8, or as many as 16 KiB hold, at most 32.
fn key_block(head_dim: usize) -> usize {
    let bytes_per_key = head_dim.div_ceil(4) * 16 * 2;
    match (16_384 - 16usize) / bytes_per_key {
        32.. => 32,
        16.. => 16,
        _ => 8,
    }
}

/// Keys in one dispatch, in whole blocks: an invocation loops over vectors of four of q and of the sum for eight keys at
/// a time, over its share of loading a block, and over the rounds of a random number.
fn keys_per_dispatch(head_dim: usize) -> usize {
    let (block, quads) = (key_block(head_dim), head_dim.div_ceil(4));
    let loading = (block * quads).div_ceil(KERNEL.workgroup_size as usize);
    let dropout = 20;
    let iterations = 1 + loading + block / 8 * (1 + 2 * quads + dropout);
    // What begins and ends a dispatch loops over a row too.
    ((LOOP_LIMIT - 10 * quads) / iterations).max(1) * block
}

fn constants([q, k, v]: [DType; 3], head_dim: usize, dropout: bool) -> [(&'static str, Constant); 6] {
    [
        ("Q_TYPE", element_constant(q)),
        ("K_TYPE", element_constant(k)),
        ("V_TYPE", element_constant(v)),
        ("HEAD_DIM", Constant::U32(head_dim as u32)),
        ("KEY_BLOCK", Constant::U32(key_block(head_dim) as u32)),
        ("DROPOUT", Constant::Bool(dropout)),
    ]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    let mut all = Vec::new();
    for q in super::FLOATS {
        for k in super::FLOATS {
            for (head_dim, dropout) in [(64, true), (1, false), (129, false), (252, true)] {
                all.push(constants([q, k, k], head_dim, dropout).to_vec());
            }
        }
    }
    all
}

/// Records q, k, v → out and lse.
pub(crate) fn attention_forward(
    pass: &mut Pass<'_>,
    dims: &Dims,
    operands: &AttentionForward<'_>,
) -> Result<()> {
    let rows = dims.query_len * dims.group_size();
    let tiles_row = (rows as u32).div_ceil(KERNEL.workgroup_size);
    let tiles = u64::from(tiles_row) * (dims.batch * dims.key_heads) as u64;
    let seed = operands.dropout.map_or(0, |dropout| dropout.seed);
    let step = keys_per_dispatch(dims.head_dim);
    let types = [operands.q.1, operands.k.1, operands.v.1];
    let constants = constants(types, dims.head_dim, operands.dropout.is_some());
    let slots = [
        operands.q.0,
        operands.k.0,
        operands.v.0,
        operands.masks.1,
        operands.out,
        operands.lse,
        operands.state,
    ];
    for key_begin in (0..dims.key_len).step_by(step) {
        let key_end = (key_begin + step).min(dims.key_len);
        let work = 2 * u64::from(KERNEL.workgroup_size) * ((key_end - key_begin) * dims.head_dim) as u64;
        for (tile_begin, tile_end) in tile_ranges(tiles, work) {
            let params = Params {
                visibility: operands.masks.0,
                query_len: dims.query_len as u32,
                key_len: dims.key_len as u32,
                query_heads: dims.query_heads as u32,
                key_heads: dims.key_heads as u32,
                scale: operands.scale,
                tiles_row,
                tile_begin,
                tile_end,
                key_begin: key_begin as u32,
                key_end: key_end as u32,
                dropout_q_offset: operands.dropout.map_or(0, |dropout| dropout.q_offset),
                dropout_batch_offset: operands.dropout.map_or(0, |dropout| dropout.batch_offset),
                dropout_threshold: operands.dropout.map_or(0, |dropout| dropout.threshold()),
                seed_low: seed as u32,
                seed_high: (seed >> 32) as u32,
                keep_scale: operands.dropout.map_or(1.0, |dropout| dropout.keep_scale() as f32),
            };
            let workgroups = u64::from(tile_end - tile_begin);
            pass.dispatch(&KERNEL, &constants, bytemuck::bytes_of(&params), &slots, workgroups)?;
        }
    }
    Ok(())
}

/// Words of `state`: none are needed while all keys are in one dispatch, but a binding is.
pub(crate) fn state_words(dims: &Dims) -> u64 {
    match keys_per_dispatch(dims.head_dim) < dims.key_len {
        true => 2 * (dims.batch * dims.query_heads * dims.query_len) as u64,
        false => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_and_dispatches_stay_under_the_loop_limit() {
        let least = wgpu::Limits::default();
        for head_dim in 1..=MAX_HEAD_DIM {
            assert_eq!(fits(head_dim, &least), head_dim <= 252, "{head_dim}");
            let (block, keys) = (key_block(head_dim), keys_per_dispatch(head_dim));
            assert!(
                block.is_multiple_of(8) && keys.is_multiple_of(block) && keys >= 512,
                "{head_dim}: {keys}"
            );
        }
        assert!(!fits(
            MAX_HEAD_DIM + 1,
            &wgpu::Limits { max_compute_workgroup_storage_size: 1 << 20, ..least }
        ));
    }
}
