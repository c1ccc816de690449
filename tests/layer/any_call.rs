//! Calls of the layer at random.

use gqa::{AttentionPath, Config, DType, DTypePolicy, FeatureWidths};
use proptest::prelude::*;

use super::common::sampler::Extent;
use super::common::{Case, OnGpu};

/// Each is compiled into shaders: one of vectors, and one off them. More are in the table of attention's cases.
const HEAD_DIMS: [usize; 3] = [4, 7, 16];

fn any_case() -> impl Strategy<Value = Case> {
    let heads = (1usize..5, 1usize..5, 0..HEAD_DIMS.len())
        .prop_map(|(g, hkv, d)| Config::new(HEAD_DIMS[d], g * hkv, hkv));
    let options = (any::<[bool; 8]>(), proptest::option::of(1usize..12), 0usize..5, 0u32..4);
    let sizes = [1usize..4, 1usize..24, 1usize..90].prop_map(|sizes: [usize; 3]| sizes);
    let shapes = (1usize..20, 1usize..20, 1usize..20);
    let mask = proptest::option::of((2usize..5, any::<[bool; 4]>()));
    (heads, options, sizes, shapes, mask, any::<u32>()).prop_map(
        |(config, (flags, window, policy, q_offset), sizes, (c, ck, cv), mask, seed)| {
            let [use_bias, use_gate, causal, with_key, drop, query_mask, value_mask, key_mask] = flags;
            let [b, t, s] = sizes;
            let full = [b, config.num_query_heads, t, s];
            let attention_mask = mask.map(|(rank, keep)| {
                let axes: &[usize] = match rank {
                    2 => &[2, 3],
                    3 => &[0, 2, 3],
                    _ => &[0, 1, 2, 3],
                };
                axes.iter().map(|&axis| if keep[axis] { full[axis] } else { 1 }).collect()
            });
            let dtype = DTypePolicy::ALL[policy];
            Case {
                config: Config { use_bias, use_gate, sliding_window: window, dropout: 0.25, dtype, ..config },
                widths: FeatureWidths { query: c, key: if with_key { ck } else { cv }, value: cv },
                sizes,
                inputs: [DType::F32, DType::F16, DType::Bf16][seed as usize % 3],
                with_key,
                causal,
                attention_mask,
                masks: [query_mask, value_mask, key_mask],
                dropout_seed: drop.then_some(u64::from(seed)),
                q_offset,
                batch_offset: seed % 7,
                path: AttentionPath::Fused,
                seed: seed % 1000,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if Extent::here() == Extent::Whole { 100 } else { 25 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_call_is_the_references(case in any_case()) {
        prop_assert_eq!(case.check(), Ok(()));
    }
}
