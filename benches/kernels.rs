//! The forms of `linear`, `attention_forward` and `attention_backward` beside each other, and the chained path: `cargo bench --bench kernels`.
//!
//! Times are wall clock from the call until the queue is idle. `GQA_ADAPTER` names the adapter.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gqa::{
    AttentionOptions, AttentionPath, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor, Tuning,
    allocate_attention_output, encode_scaled_dot_product_attention, forms, scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
};
use pollster::block_on;

fn gpu() -> Gpu {
    let gpu = block_on(Gpu::from_env()).unwrap();
    gpu.set_tuning(Tuning::Off);
    gpu
}

fn tensor(gpu: &Gpu, shape: &[usize]) -> Tensor {
    let data: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.7391).sin()).collect();
    block_on(Tensor::from_slice(gpu, shape, &data)).unwrap()
}

fn names(kernel: &str) -> Vec<&'static str> {
    forms().into_iter().filter(|(name, _)| *name == kernel).flat_map(|(_, names)| names).collect()
}

/// B, T, S, H, Hkv, D
const SHAPES: [(&str, [usize; 6], bool); 4] = [
    ("A1 causal", [1, 1024, 1024, 8, 2, 64], true),
    ("A1 full", [1, 1024, 1024, 8, 2, 64], false),
    ("A4 causal", [1, 1024, 1024, 8, 2, 128], true),
    ("A3 decode", [1, 1, 4096, 32, 8, 128], false),
];

fn attention(criterion: &mut Criterion) {
    let gpu = gpu();
    for (title, [b, t, s, h, hkv, d], causal) in SHAPES {
        let mut group = criterion.benchmark_group(format!("attention {title}"));
        let pairs = if causal { t * (t + 1) / 2 } else { t * s };
        group.throughput(Throughput::Elements((4 * b * h * pairs * d) as u64)).sample_size(10);
        let (q, k, v) =
            (tensor(&gpu, &[b, t, h, d]), tensor(&gpu, &[b, s, hkv, d]), tensor(&gpu, &[b, s, hkv, d]));
        let run = |path| {
            let options =
                AttentionOptions { use_causal_mask: causal, path: Some(path), ..Default::default() };
            let output = block_on(allocate_attention_output(&q, &k, &v, &options)).unwrap();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            encode_scaled_dot_product_attention(&mut encoder, &q, &k, &v, &options, &output)?;
            gpu.queue().submit([encoder.finish()]);
            block_on(gpu.finish())
        };
        for form in names("attention_forward") {
            // Some forms need what the device has not, and some don't take some shapes.
            if gpu.fix_form("attention_forward", Some(form)).is_ok() && run(AttentionPath::Fused).is_ok() {
                group.bench_function(BenchmarkId::new("fused", form), |bencher| {
                    bencher.iter(|| run(AttentionPath::Fused).unwrap());
                });
            }
        }
        gpu.fix_form("attention_forward", None).unwrap();
        group.bench_function("chained", |bencher| bencher.iter(|| run(AttentionPath::Chained).unwrap()));
        group.finish();
    }
}

/// Projections by way of a layer whose attention is negligible: T = S = 1, many batch elements.
/// dq, dk and dv of attention.
fn attention_gradients(criterion: &mut Criterion) {
    let gpu = gpu();
    for (title, [b, t, h, hkv, d]) in [("A1", [1, 1024, 8, 2, 64]), ("A4", [1, 1024, 8, 2, 128])] {
        let mut group = criterion.benchmark_group(format!("gradients of attention {title} causal"));
        group.sample_size(10);
        let (q, k) = (tensor(&gpu, &[b, t, h, d]), tensor(&gpu, &[b, t, hkv, d]));
        let options = AttentionOptions { use_causal_mask: true, ..Default::default() };
        let attended = block_on(scaled_dot_product_attention(&q, &k, &k, &options)).unwrap();
        for form in names("attention_backward") {
            if gpu.fix_form("attention_backward", Some(form)).is_err() {
                continue;
            }
            let run = || {
                let backward = scaled_dot_product_attention_backward(&q, &k, &k, &attended, &q, &options);
                block_on(backward).map(|_| block_on(gpu.finish()).unwrap())
            };
            if run().is_ok() {
                group.bench_function(form, |bencher| bencher.iter(|| run().unwrap()));
            }
        }
        gpu.fix_form("attention_backward", None).unwrap();
        group.finish();
    }
}

fn linear(criterion: &mut Criterion) {
    let gpu = gpu();
    for (rows, width) in [(512, 512), (2048, 1024), (1, 1024)] {
        let mut group = criterion.benchmark_group(format!("four projections {rows} x {width} x {width}"));
        group.throughput(Throughput::Elements((4 * 2 * rows * width * width) as u64)).sample_size(10);
        let heads = width / 64;
        let config = Config::new(64, heads, heads);
        let layer = block_on(GroupedQueryAttention::new(&gpu, config, FeatureWidths::all(width), 1)).unwrap();
        let x = tensor(&gpu, &[rows, 1, width]);
        for form in names("linear") {
            if gpu.fix_form("linear", Some(form)).is_ok() {
                group.bench_function(form, |bencher| {
                    bencher.iter(|| {
                        block_on(layer.call(&x, &x, &Default::default())).unwrap();
                        block_on(gpu.finish()).unwrap();
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, attention, attention_gradients, linear);
criterion_main!(benches);
