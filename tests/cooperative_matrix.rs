//! Matrix units: asked for, tested, and taken for f16 alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::compare::compare;
use common::{Case, OnGpu, read};
use gqa::{AttentionPath, Config, CooperativeMatrix, DTypePolicy, Gpu, Tuning, wgpu};
use pollster::block_on;

const FEATURES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// The adapter under test as the caller's own device with these features; `None` where it lacks them.
fn own_device(features: wgpu::Features) -> Option<Gpu> {
    let wanted = common::gpu().adapter_info().clone();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = adapters.into_iter().find(|adapter| {
        let info = adapter.get_info();
        (info.name, info.backend) == (wanted.name.clone(), wanted.backend)
    });
    let adapter = adapter.unwrap();
    if !adapter.features().contains(features) {
        return None;
    }
    // SAFETY: what wgpu may get wrong shows in these tests.
    #[allow(unsafe_code)]
    let experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    let descriptor = wgpu::DeviceDescriptor {
        required_features: features,
        required_limits: adapter.limits(),
        experimental_features,
        ..Default::default()
    };
    let (device, queue) = block_on(adapter.request_device(&descriptor)).unwrap();
    Some(Gpu::from_wgpu(&adapter, device, queue).unwrap())
}

/// The caller's device with cooperative matrices that have passed their test, if the adapter has any.
fn tested() -> Option<Gpu> {
    let gpu = own_device(FEATURES).filter(|gpu| gpu.cooperative_matrix() != CooperativeMatrix::Off);
    let Some(gpu) = gpu else {
        eprintln!("{:?} has no cooperative matrices for f16: nothing is tested", common::gpu());
        return None;
    };
    assert_eq!(gpu.cooperative_matrix(), CooperativeMatrix::Untested);
    let units = block_on(gpu.test_cooperative_matrix()).unwrap();
    assert!(matches!(units, CooperativeMatrix::Passed { .. }), "{units:?}");
    Some(gpu)
}

fn case(dtype: DTypePolicy) -> Case {
    let config = Config { dtype, use_gate: true, dropout: 0.2, ..Config::new(16, 6, 2) };
    let mut case = Case::new(config, 40, [2, 37, 50]);
    case.path = AttentionPath::Fused;
    case.causal = true;
    case.masks = [true; 3];
    case.dropout_seed = Some(3);
    case
}

#[test]
fn a_device_without_the_features_has_none_and_calls_leave_it_so() {
    let gpu = own_device(wgpu::Features::empty()).unwrap();
    assert_eq!(gpu.cooperative_matrix(), CooperativeMatrix::Off);
    assert_eq!(block_on(gpu.test_cooperative_matrix()).unwrap(), CooperativeMatrix::Off);
    for (kernel, forms) in gqa::forms() {
        for form in forms.into_iter().filter(|form| form.starts_with("matrix")) {
            let error = gpu.fix_form(kernel, Some(form)).unwrap_err().to_string();
            assert!(error.contains("fits this device"), "{error}");
        }
    }
}

#[test]
fn a_layer_in_f16_runs_on_them_within_the_tolerance_of_f16() {
    let Some(gpu) = tested() else { return };
    gpu.set_tuning(Tuning::Off);
    for (kernel, forms) in gqa::forms() {
        // The last is the one that every adapter's subgroups are wide enough for.
        let form = forms.into_iter().rfind(|form| form.starts_with("matrix"));
        gpu.fix_form(kernel, form).unwrap();
    }
    for dtype in DTypePolicy::ALL {
        let case = case(dtype);
        let data = case.data();
        let got = case.got(&case.layer(&gpu), &data);
        let half = matches!(dtype, DTypePolicy::Float16 | DTypePolicy::MixedFloat16);
        assert_eq!(got.attention_form.unwrap().starts_with("matrix"), half, "{dtype}");
        let expected = case.expected(&data);
        let tolerance = dtype.compute_dtype().tolerance();
        compare(
            &dtype.to_string(),
            &read(&got.attention_output),
            expected.attention_output.data(),
            tolerance,
        )
        .unwrap();
    }
    for choice in gpu.choices() {
        let on_units = choice.form.starts_with("matrix");
        assert_eq!(on_units, choice.class.contains("cooperative-matrix"), "{choice:?}");
    }
}

#[test]
fn a_call_in_f16_tests_them_and_one_in_f32_does_not() {
    let Some(gpu) = own_device(FEATURES).filter(|gpu| gpu.cooperative_matrix() != CooperativeMatrix::Off)
    else {
        return;
    };
    for (dtype, tested) in [(DTypePolicy::Float32, false), (DTypePolicy::MixedFloat16, true)] {
        let case = case(dtype);
        case.got(&case.layer(&gpu), &case.data());
        assert_eq!(gpu.cooperative_matrix() != CooperativeMatrix::Untested, tested);
    }
}
