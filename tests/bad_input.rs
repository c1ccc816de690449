//! Everything a caller can get wrong gives an error that names the argument, what was expected and what came.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Case, OnGpu, bools, gpu, upload, values};
use gqa::{
    Array, AttentionOptions, CallOptions, Config, DType, Dropout, Error, FeatureWidths, Gpu,
    GroupedQueryAttention, Tensor, Weights, scaled_dot_product_attention, wgpu,
};
use pollster::block_on;

/// The error's text, which must have all of `parts`.
#[track_caller]
fn refused<T>(result: Result<T, Error>, parts: &[&str]) {
    let message = result.err().expect("it went through").to_string();
    for part in parts {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

fn tensor(shape: &[usize]) -> Tensor {
    block_on(Tensor::from_array(gpu(), &values(shape, 1), DType::F32)).unwrap()
}

fn mask(shape: &[usize]) -> Tensor {
    block_on(Tensor::from_mask(gpu(), &bools(shape, 1))).unwrap()
}

fn layer() -> GroupedQueryAttention {
    Case::new(Config::new(4, 6, 2), 8, [1, 1, 1]).layer(gpu())
}

#[test]
fn configurations() {
    let new = |config: Config| {
        block_on(GroupedQueryAttention::new(gpu(), config, FeatureWidths::all(8), 1)).map(drop)
    };
    refused(new(Config::new(4, 6, 4)), &["num_query_heads", "divisible by num_key_value_heads (4)", "got 6"]);
    refused(new(Config::new(0, 6, 2)), &["head_dim", "positive", "got 0"]);
    refused(new(Config::new(4, 0, 2)), &["num_query_heads", "positive"]);
    refused(new(Config::new(4, 6, 0)), &["num_key_value_heads", "positive"]);
    for dropout in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        let config = Config { dropout, ..Config::new(4, 6, 2) };
        refused(new(config), &["dropout", "[0, 1)", &dropout.to_string()]);
    }
    let config = Config { sliding_window: Some(0), ..Config::new(4, 6, 2) };
    refused(new(config), &["sliding_window", "positive", "got 0"]);
    let wide = Config::new(40_000, 1, 1);
    refused(wide.compute_output_shape(&[1, 2, 3], &[1, 2, 3], None), &["head_dim", "at most 32768", "40000"]);
}

#[test]
fn weights_that_are_not_those_of_the_configuration() {
    let config = Config::new(4, 6, 2);
    let weights = common::weights(&config, FeatureWidths::all(8), 1);
    let build = |config: &Config, weights: &Weights| {
        block_on(GroupedQueryAttention::from_weights(gpu(), config.clone(), weights)).map(drop)
    };
    let gated = Config { use_gate: true, ..config.clone() };
    refused(build(&gated, &weights), &["gate/kernel", "missing", "query/kernel"]);
    let bare = Config { use_bias: false, ..config.clone() };
    refused(build(&bare, &weights), &["unknown tensor `query/bias`"]);
    let mut wrong = weights.clone();
    wrong.key.kernel = values(&[8, 4, 2], 1);
    refused(build(&config, &wrong), &["key/kernel", "[8, 2, 4]", "[8, 4, 2]"]);
    let mut wrong = weights;
    wrong.attention_output.bias = Some(values(&[9], 1));
    refused(build(&config, &wrong), &["attention_output/bias", "[8]", "[9]"]);
}

#[test]
fn shapes_that_disagree() {
    let layer = layer();
    let call = |query: &[usize], value: &[usize], key: Option<&[usize]>| {
        let (query, value, key) = (tensor(query), tensor(value), key.map(tensor));
        let options = CallOptions { key: key.as_ref(), ..Default::default() };
        block_on(layer.call(&query, &value, &options)).map(drop)
    };
    refused(call(&[2, 3, 9], &[2, 5, 8], None), &["`query`", "width 8", "[2, 3, 9]"]);
    refused(call(&[2, 3, 8], &[2, 5, 7], None), &["`value`", "width 8", "[2, 5, 7]"]);
    refused(call(&[2, 3, 8], &[2, 5, 8], Some(&[2, 5, 6])), &["`key`", "width 8", "[2, 5, 6]"]);
    refused(call(&[2, 3, 8], &[3, 5, 8], None), &["`value`", "batch size 2", "[3, 5, 8]"]);
    refused(call(&[2, 3, 8], &[2, 5, 8], Some(&[2, 6, 8])), &["`key`", "[2, 5, Ck]", "[2, 6, 8]"]);
    refused(call(&[2, 3, 8], &[2, 5, 8], Some(&[1, 5, 8])), &["`key`", "[1, 5, 8]"]);
    refused(call(&[2, 8], &[2, 5, 8], None), &["`query`", "[B, T, C]", "[2, 8]"]);
    refused(call(&[2, 3, 8], &[1, 2, 5, 8], None), &["`value`", "[B, S, Cv]"]);
    let shape =
        |query: &[usize], value: &[usize]| Config::new(4, 6, 2).compute_output_shape(query, value, None);
    assert_eq!(shape(&[2, 3, 8], &[2, 5, 6]).unwrap(), [2, 3, 8]);
    refused(shape(&[2, 0, 8], &[2, 5, 8]), &["query", "no axis of length 0", "[2, 0, 8]"]);
    refused(shape(&[2, 3, 8], &[2, 0, 8]), &["value", "no axis of length 0"]);
}

#[test]
fn masks_that_do_not_fit() {
    let layer = layer();
    let (query, value) = (tensor(&[2, 3, 8]), tensor(&[2, 5, 8]));
    let call = |options: CallOptions<'_>| block_on(layer.call(&query, &value, &options)).map(drop);
    for shape in [&[3, 4][..], &[3][..], &[3, 3, 5], &[2, 2, 3, 5], &[2, 6, 5, 3], &[1, 2, 6, 3, 5]] {
        let mask = mask(shape);
        let options = CallOptions { attention_mask: Some(&mask), ..Default::default() };
        refused(call(options), &["`attention_mask`", "broadcastable", "[T=3, S=5]", &format!("{shape:?}")]);
    }
    let (three, five, float) = (mask(&[2, 3]), mask(&[2, 5]), tensor(&[2, 5]));
    let with = |query_mask, value_mask, key_mask| CallOptions {
        query_mask,
        value_mask,
        key_mask,
        ..Default::default()
    };
    refused(call(with(Some(&five), None, None)), &["`query_mask`", "[2, 3]", "[2, 5]"]);
    refused(call(with(None, Some(&three), None)), &["`value_mask`", "[2, 5]", "[2, 3]"]);
    refused(call(with(None, None, Some(&three))), &["`key_mask`", "[2, 5]", "[2, 3]"]);
    refused(call(with(None, Some(&float), None)), &["`value_mask`", "bool", "f32"]);
    refused(
        block_on(layer.call(&three, &value, &Default::default())).map(drop),
        &["`query`", "f32, f16 or bf16", "bool"],
    );
}

#[test]
fn offsets_past_what_an_index_counts() {
    let layer = layer();
    let (query, value) = (tensor(&[1, 3, 8]), tensor(&[1, 5, 8]));
    let options = CallOptions { q_offset: u32::MAX - 1, ..Default::default() };
    refused(block_on(layer.call(&query, &value, &options)).map(drop), &["q_offset"]);
}

#[test]
fn attention_alone() {
    let (q, k) = (tensor(&[1, 3, 6, 4]), tensor(&[1, 5, 2, 4]));
    let call = |q: &Tensor, k: &Tensor, v: &Tensor, options: &AttentionOptions<'_>| {
        block_on(scaled_dot_product_attention(q, k, v, options)).map(drop)
    };
    let plain = AttentionOptions::default();
    call(&q, &k, &k, &plain).unwrap();
    refused(call(&q, &tensor(&[1, 5, 4, 4]), &k, &plain), &["`v`", "[1, 5, 4, 4]"]);
    let four = tensor(&[1, 5, 4, 4]);
    refused(call(&q, &four, &four, &plain), &["`q`", "divisible by k's 4"]);
    refused(call(&q, &tensor(&[1, 5, 2, 3]), &k, &plain), &["`k`", "head_dim 4"]);
    refused(call(&tensor(&[3, 6, 4]), &k, &k, &plain), &["`q`", "[B, T, H, D]"]);
    refused(call(&q, &k, &k, &AttentionOptions { scale: Some(f32::NAN), ..plain }), &["scale", "finite"]);
    refused(call(&q, &k, &k, &AttentionOptions { sliding_window: Some(0), ..plain }), &["sliding_window"]);
    let dropout = Some(Dropout { probability: 1.5, seed: 1, q_offset: 0, batch_offset: 0 });
    refused(call(&q, &k, &k, &AttentionOptions { dropout, ..plain }), &["dropout", "[0, 1)", "1.5"]);
}

#[test]
fn tensors() {
    let gpu = gpu();
    refused(block_on(Tensor::from_slice(gpu, [2, 3], &[1.0f32; 5])), &["values", "[2, 3]", "5 elements"]);
    refused(block_on(Tensor::empty(gpu, [2, 0], DType::F32)), &["shape", "length 0", "[2, 0]"]);
    refused(block_on(Tensor::empty(gpu, [usize::MAX, 2], DType::F32)), &["more than the", "bytes"]);
    let limit = gpu.max_tensor_bytes();
    let too_large = usize::try_from(limit / 4 + 1).unwrap();
    refused(block_on(Tensor::empty(gpu, [too_large], DType::F32)), &[&limit.to_string(), "more than"]);
    refused(block_on(tensor(&[2]).to_vec::<bool>()), &["element type", "f32", "bool"]);
    refused(Array::new([2, 2], [1.0f32; 3]), &["[2, 2]", "3 elements"]);
}

#[test]
fn an_intermediate_that_the_adapter_can_not_hold() {
    // Scores of 2 · 20,000² words are more than 2 GiB, more than any binding.
    let limit = gpu().limits().max_storage_buffer_binding_size.min(i32::MAX as u64) & !3;
    let layer = Case::new(Config::new(1, 2, 1), 1, [1, 1, 1]).layer(gpu());
    let long = tensor(&[1, 20_000, 1]);
    let options = CallOptions { return_attention_scores: true, ..Default::default() };
    refused(
        block_on(layer.call(&long, &long, &options)).map(drop),
        &["attention_scores", "3200000000 bytes", &limit.to_string()],
    );
}

#[test]
fn buffers_of_the_caller() {
    use wgpu::BufferUsages;
    let gpu = gpu();
    let buffer = |size, usage| {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    };
    let make =
        |usage, size, offset| Tensor::from_buffer(gpu, buffer(size, usage), offset, [4, 4], DType::F32);
    refused(make(BufferUsages::COPY_DST, 64, 0), &["buffer", "STORAGE"]);
    refused(make(BufferUsages::STORAGE, 60, 0), &["buffer", "at least 64 bytes", "60 bytes"]);
    refused(make(BufferUsages::STORAGE, 512, 4), &["offset", "multiple of", "4"]);
    refused(make(BufferUsages::STORAGE, 512, u64::MAX - 255), &["buffer"]);
    let unreadable = make(BufferUsages::STORAGE, 64, 0).unwrap();
    refused(block_on(unreadable.to_vec::<f32>()), &["buffer", "COPY_SRC"]);
}

#[test]
fn tensors_of_another_device() {
    let other = block_on(Gpu::from_env()).unwrap();
    let foreign = block_on(Tensor::from_array(&other, &values(&[1, 3, 8], 1), DType::F32)).unwrap();
    let own = tensor(&[1, 3, 8]);
    let layer = layer();
    refused(block_on(layer.call(&foreign, &own, &Default::default())).map(drop), &["`query`", "another"]);
    let options = CallOptions { key: Some(&foreign), ..Default::default() };
    refused(block_on(layer.call(&own, &own, &options)).map(drop), &["`key`", "another"]);
}

#[test]
fn outputs_that_do_not_fit() {
    let case = Case::new(Config::new(4, 6, 2), 8, [1, 3, 5]);
    let layer = case.layer(gpu());
    let data = case.data();
    let inputs = upload(gpu(), &case, &data);
    let options = inputs.options(&case, false);
    let output = block_on(layer.allocate_output(&inputs.query, &inputs.value, &options)).unwrap();
    let mut encoder = gpu().device().create_command_encoder(&Default::default());
    let mut encode = |options: &CallOptions<'_>, output: gqa::OutputTensors| {
        layer.encode(&mut encoder, &inputs.query, &inputs.value, options, &output)
    };
    let wrong = gqa::OutputTensors { attention_output: tensor(&[1, 3, 9]), ..output.clone() };
    refused(encode(&options, wrong), &["attention_output", "[1, 3, 8]", "[1, 3, 9]"]);
    let scores = CallOptions { return_attention_scores: true, ..options };
    refused(encode(&scores, output), &["attention_scores", "[1, 6, 3, 5]", "None"]);
}

#[test]
fn adapters_that_do_not_exist() {
    refused(
        block_on(Gpu::with_adapter("no such adapter")).map(drop),
        &["`no such adapter`", "available", "0: "],
    );
    refused(block_on(Gpu::with_adapter("98765")).map(drop), &["`98765`", "available"]);
    refused(block_on(Gpu::with_adapter("")).map(drop), &["available"]);
}

#[test]
fn devices_with_less_than_webgpu_promises() {
    let adapters = block_on(wgpu_instance().enumerate_adapters(wgpu::Backends::all()));
    let descriptor =
        wgpu::DeviceDescriptor { required_limits: wgpu::Limits::downlevel_defaults(), ..Default::default() };
    let (device, queue) = block_on(adapters[0].request_device(&descriptor)).unwrap();
    refused(Gpu::from_wgpu(&adapters[0], device, queue).map(drop), &["4 storage buffers", "5 are needed"]);
}

fn wgpu_instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle())
}

#[test]
fn an_error_outside_any_call_is_told_once() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE;
    let impossible = wgpu::BufferDescriptor { label: None, size: u64::MAX, usage, mapped_at_creation: false };
    drop(gpu.device().create_buffer(&impossible));
    let make = || block_on(Tensor::from_slice(&gpu, [2], &[1.0f32, 2.0]));
    refused(make().map(drop), &["outside any call"]);
    assert_eq!(block_on(make().unwrap().to_vec::<f32>()).unwrap(), [1.0, 2.0]);
}

#[test]
fn more_keys_than_the_chained_path_counts_go_the_fused_way() {
    let layer = Case::new(Config::new(1, 1, 1), 1, [1, 1, 1]).layer(gpu());
    let (query, value) = (tensor(&[1, 1, 1]), tensor(&[1, 400_000, 1]));
    let call = |options: &CallOptions<'_>| block_on(layer.call(&query, &value, options));
    let output = call(&CallOptions::default()).unwrap();
    assert_eq!(output.path, gqa::AttentionPath::Fused);
    let scores = CallOptions { return_attention_scores: true, ..Default::default() };
    refused(call(&scores).map(drop), &["key length", "chained", "400000"]);
}

#[test]
fn a_lost_device_is_an_error_and_not_a_hang() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let case = Case::new(Config::new(4, 6, 2), 8, [1, 3, 5]);
    let layer = case.layer(&gpu);
    let data = case.data();
    let inputs = upload(&gpu, &case, &data);
    let output = block_on(layer.call(&inputs.query, &inputs.value, &inputs.options(&case, false))).unwrap();
    gpu.device().destroy();
    let read = block_on(output.attention_output.to_vec::<f32>());
    assert!(matches!(read, Err(Error::DeviceLost { .. } | Error::Gpu { .. })), "{read:?}");
    let again = block_on(layer.call(&inputs.query, &inputs.value, &inputs.options(&case, false)));
    assert!(matches!(again, Err(Error::DeviceLost { .. } | Error::Gpu { .. })), "{again:?}");
}
