//! The whole layer, with the forms that are chosen for it: `cargo bench --bench layer`.
//!
//! Times are wall clock from the call until the queue is idle. `GQA_ADAPTER` names the adapter.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gqa::{CallOptions, Config, DTypePolicy, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};
use pollster::block_on;

/// Title, B, T = S, C, H, Hkv, D
const SHAPES: [(&str, [usize; 6]); 3] =
    [("L1", [1, 512, 512, 8, 2, 64]), ("L2", [4, 128, 256, 8, 2, 32]), ("L3", [1, 2048, 1024, 16, 4, 64])];

fn layer(criterion: &mut Criterion) {
    let gpu = block_on(Gpu::from_env()).unwrap();
    for (title, [b, t, c, h, hkv, d]) in SHAPES {
        let mut group = criterion.benchmark_group(format!("layer {title}"));
        group.throughput(Throughput::Elements((b * t) as u64)).sample_size(10);
        let data: Vec<f32> = (0..b * t * c).map(|i| (i as f32 * 0.7391).sin()).collect();
        let x = block_on(Tensor::from_slice(&gpu, [b, t, c], &data)).unwrap();
        for dtype in [DTypePolicy::Float32, DTypePolicy::MixedFloat16] {
            for dropout in [0.0, 0.1] {
                let config = Config { dtype, dropout, ..Config::new(d, h, hkv) };
                let layer = block_on(GroupedQueryAttention::new(&gpu, config, FeatureWidths::all(c), 1));
                let layer = layer.unwrap();
                let options =
                    CallOptions { use_causal_mask: true, training: dropout > 0.0, ..Default::default() };
                group.bench_function(format!("{dtype} dropout {dropout}"), |bencher| {
                    bencher.iter(|| {
                        block_on(layer.call(&x, &x, &options)).unwrap();
                        block_on(gpu.finish()).unwrap();
                    });
                });
                group.bench_function(format!("{dtype} dropout {dropout}, with gradients"), |bencher| {
                    bencher.iter(|| {
                        let (called, tape) = block_on(layer.call_with_tape(&x, &x, &options)).unwrap();
                        block_on(tape.backward(&called.attention_output)).unwrap();
                        block_on(gpu.finish()).unwrap();
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, layer);
criterion_main!(benches);
