//! The caller's own device, buffers and encoder; and what the library keeps of a device's memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Case, OnGpu, read, upload};
use gqa::{CallOptions, Config, DType, Gpu, Tensor, wgpu};
use pollster::block_on;

/// A device with no more than WebGPU promises everywhere, on the adapter under test.
fn least_device() -> Gpu {
    let adapter_info = common::gpu().adapter_info().clone();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = adapters
        .into_iter()
        .find(|adapter| {
            let info = adapter.get_info();
            (info.name, info.backend) == (adapter_info.name.clone(), adapter_info.backend)
        })
        .unwrap();
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: wgpu::Limits::default().using_alignment(adapter.limits()),
        ..Default::default()
    };
    let (device, queue) = block_on(adapter.request_device(&descriptor)).unwrap();
    assert_eq!(device.limits().max_storage_buffers_per_shader_stage, 8);
    Gpu::from_wgpu(&adapter, device, queue).unwrap()
}

#[test]
fn a_layer_runs_on_the_callers_device_with_webgpus_least_limits() {
    let gpu = least_device();
    let mut case = Case::new(Config { use_gate: true, dropout: 0.1, ..Config::new(8, 6, 2) }, 15, [2, 9, 33]);
    case.masks = [true; 3];
    case.attention_mask = Some(vec![2, 9, 33]);
    case.dropout_seed = Some(4);
    let data = case.data();
    let got = case.got(&case.layer(&gpu), &data);
    let expected = case.expected(&data);
    common::compare::compare("output", &read(&got.attention_output), expected.attention_output.data(), 1e-5)
        .unwrap();
}

#[test]
fn tensors_lie_in_the_callers_buffers_at_an_offset() {
    let gpu = least_device();
    let case = Case::new(Config::new(4, 4, 2), 6, [1, 5, 7]);
    let data = case.data();
    let layer = case.layer(&gpu);
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    // query, value and output in one buffer, poison everywhere else.
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("all"),
        size: 1024,
        usage,
        mapped_at_creation: false,
    });
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    gpu.queue().write_buffer(&buffer, 0, &bytes(&[777.0; 256]));
    gpu.queue().write_buffer(&buffer, 0, &bytes(data.query.data()));
    gpu.queue().write_buffer(&buffer, 256, &bytes(data.value.data()));
    let query = Tensor::from_buffer(&gpu, buffer.clone(), 0, [1, 5, 6], DType::F32).unwrap();
    let value = Tensor::from_buffer(&gpu, buffer.clone(), 256, [1, 7, 6], DType::F32).unwrap();
    let called = block_on(layer.call(&query, &value, &Default::default())).unwrap();
    let expected = case.expected(&data).attention_output;
    common::compare::compare("call", &read(&called.attention_output), expected.data(), 1e-5).unwrap();

    let output_buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("output"),
        size: 1024,
        usage,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&output_buffer, 0, &bytes(&[777.0; 256]));
    let output = gqa::OutputTensors {
        attention_output: Tensor::from_buffer(&gpu, output_buffer.clone(), 512, [1, 5, 6], DType::F32)
            .unwrap(),
        attention_scores: None,
    };
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    layer.encode(&mut encoder, &query, &value, &Default::default(), &output).unwrap();
    gpu.queue().submit([encoder.finish()]);
    common::compare::compare("encode", &read(&output.attention_output), expected.data(), 1e-5).unwrap();
    let whole = Tensor::from_buffer(&gpu, output_buffer, 0, [256], DType::F32).unwrap();
    let whole = read(&whole);
    assert!(whole[..128].iter().chain(&whole[158..]).all(|&x| x == 777.0), "wrote outside its range");
}

#[test]
fn calls_after_the_first_compile_nothing_and_leave_memory_where_it_was() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let mut case = Case::new(Config { use_gate: true, ..Config::new(8, 6, 2) }, 15, [2, 9, 33]);
    case.masks = [true, true, false];
    let data = case.data();
    let before_layer = gpu.usage().tensor_bytes;
    let layer = case.layer(&gpu);
    let inputs = upload(&gpu, &case, &data);
    let call = || block_on(layer.call(&inputs.query, &inputs.value, &inputs.options(&case, false))).unwrap();
    drop(call());
    let warm = gpu.usage();
    for _ in 0..20 {
        let output = call();
        assert_eq!(gpu.usage().tensor_bytes, warm.tensor_bytes + 2 * 9 * 15 * 4);
        drop(output);
    }
    let after = gpu.usage();
    assert_eq!(after.pipelines, warm.pipelines);
    assert_eq!(after.tensor_bytes, warm.tensor_bytes);
    assert_eq!(after.workspace_bytes, warm.workspace_bytes);
    assert_eq!(after.buffers, warm.buffers);
    assert_eq!(after.bind_groups, warm.bind_groups);
    drop((layer, inputs));
    assert_eq!(gpu.usage().tensor_bytes, before_layer);
    gpu.trim();
    assert_eq!(gpu.usage().workspace_bytes, 0);
}

#[test]
fn training_calls_make_nothing_new_either_though_each_has_its_own_seed() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let case = Case::new(Config { dropout: 0.5, ..Config::new(8, 6, 2) }, 15, [2, 9, 33]);
    let layer = case.layer(&gpu);
    let inputs = upload(&gpu, &case, &case.data());
    let options = CallOptions { training: true, ..Default::default() };
    let call = || block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
    drop((call(), call()));
    let warm = gpu.usage();
    let outputs: Vec<_> = (0..20).map(|_| call().dropout_seed).collect();
    let after = gpu.usage();
    assert!(outputs.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!((after.buffers, after.bind_groups), (warm.buffers, warm.bind_groups));
    assert_eq!(after.workspace_bytes, warm.workspace_bytes);
}

#[test]
fn recording_again_makes_nothing_new() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let case = Case::new(Config::new(8, 6, 2), 15, [2, 9, 33]);
    let layer = case.layer(&gpu);
    let inputs = upload(&gpu, &case, &case.data());
    let options = CallOptions { use_causal_mask: true, ..Default::default() };
    let output = block_on(layer.allocate_output(&inputs.query, &inputs.value, &options)).unwrap();
    let encode = || {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        layer.encode(&mut encoder, &inputs.query, &inputs.value, &options, &output).unwrap();
        gpu.queue().submit([encoder.finish()]);
    };
    encode();
    let warm = gpu.usage();
    (0..20).for_each(|_| encode());
    let after = gpu.usage();
    assert_eq!(
        (after.buffers, after.bind_groups, after.pipelines),
        (warm.buffers, warm.bind_groups, warm.pipelines)
    );
}

#[test]
fn an_output_that_the_callers_commands_may_still_read_is_not_used_again() {
    let gpu = block_on(Gpu::from_env()).unwrap();
    let case = Case::new(Config::new(8, 6, 2), 15, [1, 9, 9]);
    let layer = case.layer(&gpu);
    let inputs = upload(&gpu, &case, &case.data());
    let call = |x: &Tensor| block_on(layer.call(x, x, &Default::default())).unwrap().attention_output;
    // What recording reads, be it submitted after another call has run.
    let first = call(&inputs.query);
    let expected = read(&call(&call(&inputs.query)));
    let output = block_on(layer.allocate_output(&first, &first, &Default::default())).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    layer.encode(&mut encoder, &first, &first, &Default::default(), &output).unwrap();
    drop(first);
    let zeros = block_on(Tensor::from_slice(&gpu, [1, 9, 15], &[0.0f32; 135])).unwrap();
    let others = [call(&zeros), call(&zeros), call(&zeros)];
    gpu.queue().submit([encoder.finish()]);
    assert_eq!(read(&output.attention_output), expected);
    drop(others);
    // What was lent as a wgpu buffer.
    let lent = call(&inputs.query);
    let buffer = lent.buffer().clone();
    let expected = read(&lent);
    drop(lent);
    drop([call(&zeros), call(&zeros)]);
    let kept = Tensor::from_buffer(&gpu, buffer, 0, [1, 9, 15], DType::F32).unwrap();
    assert_eq!(read(&kept), expected);
}

#[test]
fn commands_recorded_before_a_call_and_submitted_after_it_leave_its_results_alone() {
    let gpu = least_device();
    // Outputs as large as the intermediates.
    let case = Case::new(Config::new(8, 4, 2), 32, [2, 16, 16]);
    let (data, layer) = (case.data(), case.layer(&gpu));
    let inputs = upload(&gpu, &case, &data);
    let options = CallOptions::default();
    let output = block_on(layer.allocate_output(&inputs.query, &inputs.value, &options)).unwrap();
    let zeros = block_on(Tensor::from_slice(&gpu, [2, 16, 32], &[0.0f32; 1024])).unwrap();
    let gradients_of = |late: Option<wgpu::CommandEncoder>| {
        let called = block_on(layer.call(&inputs.query, &inputs.value, &options)).unwrap();
        let (_, tape) = block_on(layer.call_with_tape(&inputs.query, &inputs.value, &options)).unwrap();
        gpu.queue().submit(late.map(wgpu::CommandEncoder::finish));
        let gradients = block_on(tape.backward(&inputs.value)).unwrap();
        (read(&called.attention_output), read(&gradients.query))
    };
    let alone = gradients_of(None);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    for _ in 0..3 {
        layer.encode(&mut encoder, &zeros, &zeros, &options, &output).unwrap();
    }
    assert!(gradients_of(Some(encoder)) == alone);
}
