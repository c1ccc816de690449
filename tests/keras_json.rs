//! Keras' JSON ↔ `Config`, against configurations that Keras wrote (`tests/fixtures/files/make.py`) and against itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gqa::{
    Config, Constraint, DTypePolicy, Error, Initializer, OrthogonalMode, Regularizer,
    initializers::{FanMode, StftScaling, StftSide, StftWindow, VarianceDistribution},
    keras::{ModelFile, ParsedConfig},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn fixture(version: &str) -> Vec<Value> {
    let path =
        format!("{}/tests/fixtures/files/keras-{version}/configurations.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The value as Keras means it: whole numbers are floats too, absent arguments null, and a seed generator its seed.
fn meaning(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(meaning).collect(),
        Value::Object(map) if map.get("class_name") == Some(&json!("SeedGenerator")) => {
            meaning(&map["config"]["seed"])
        }
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null() && **value != json!(false));
            Value::Object(kept.map(|(key, value)| (key.clone(), meaning(value))).collect())
        }
        value => value.clone(),
    }
}

#[test]
fn what_keras_writes_is_read_and_written_back() {
    for version in ["3.15.1", "3.6.0"] {
        for (i, layer) in fixture(version).iter().enumerate() {
            let ParsedConfig { config, unknown_keys } = Config::from_keras_value(layer).unwrap();
            let own: Vec<_> = ["kernel", "bias"]
                .iter()
                .filter(|kind| layer.to_string().contains(&own_initializer(kind)))
                .collect();
            assert_eq!(unknown_keys.len(), own.len(), "{unknown_keys:?}");
            assert_eq!((config.name.as_str(), config.head_dim), (format!("layer_{i}").as_str(), i + 1));
            let mut written = meaning(&config.to_keras_json());
            let mut wanted = meaning(layer);
            for json in [&mut written, &mut wanted] {
                for kind in ["kernel_initializer", "bias_initializer"] {
                    // Keras writes no gain for an identity, and 3.6 under a name that it can't read.
                    let initializer = &mut json["config"][kind];
                    if initializer["class_name"].as_str().is_some_and(|name| name.starts_with("Identity")) {
                        *initializer = json!("identity");
                    }
                    if initializer["class_name"] == "OrthogonalInitializer" {
                        initializer["class_name"] = json!("Orthogonal");
                    }
                }
            }
            assert_eq!(written, wanted, "Keras {version}, layer {i}");
            assert_eq!(Config::from_keras_value(&config.to_keras_json()).unwrap().config, config);
        }
    }
}

fn own_initializer(kind: &str) -> String {
    format!("\"{kind}_initializer\":{{\"class_name\":\"Own\"")
}

#[test]
fn every_form_of_a_layer_is_read() {
    let layer = &fixture("3.15.1")[4];
    let config = Config::from_keras_value(layer).unwrap().config;
    assert_eq!(config.dtype, DTypePolicy::MixedBfloat16);
    let bare = layer["config"].clone();
    let with = |key: &str, value: Value| {
        let mut layer = layer.clone();
        layer[key] = value;
        layer
    };
    let model = json!({
        "module": "keras", "class_name": "Sequential", "registered_name": null,
        "config": {"name": "model", "layers": [{"class_name": "InputLayer", "config": {}}, layer.clone()]},
    });
    let forms = [
        bare,
        model,
        with("class_name", json!("GroupedQueryAttention")),
        with("module", json!("keras.src.layers.attention.grouped_query_attention")),
        with("class_name", json!("keras>GroupQueryAttention")),
        with("registered_name", json!("keras>GroupedQueryAttention")),
        with("build_config", json!({"shapes_dict": {"query_shape": [null, null, 3]}})),
        json!({"class_name": "GroupQueryAttention", "config": layer["config"]}),
    ];
    for form in forms {
        assert_eq!(Config::from_keras_json(&form.to_string()).unwrap().config, config, "{form}");
    }
    // A class of the same name that is not Keras' own may compute anything.
    for form in
        [with("module", json!("my.layers")), with("registered_name", json!("mine>GroupedQueryAttention"))]
    {
        assert!(matches!(Config::from_keras_value(&form), Err(Error::File { .. })), "{form}");
    }
}

#[test]
fn objects_may_be_names_or_dicts() {
    let read = |key: &str, value: Value| {
        let mut config = json!({"head_dim": 1, "num_query_heads": 1, "num_key_value_heads": 1});
        config[key] = value;
        Config::from_keras_value(&config)
    };
    let kernel = |value| read("kernel_initializer", value).unwrap().config.kernel_initializer;
    for name in [
        json!("glorot_uniform"),
        json!("GlorotUniform"),
        json!({"class_name": "glorot_uniform", "config": {}}),
    ] {
        assert_eq!(kernel(name), Initializer::glorot_uniform());
    }
    assert_eq!(kernel(json!("zero")), Initializer::Zeros);
    assert_eq!(
        kernel(json!("uniform")),
        Initializer::RandomUniform { minval: -0.05, maxval: 0.05, seed: None }
    );
    let regularizer = |value| read("kernel_regularizer", value).unwrap().config.kernel_regularizer;
    assert_eq!(regularizer(json!("l2")), Some(Regularizer::L2 { l2: 0.01 }));
    assert_eq!(regularizer(json!("L1L2")), Some(Regularizer::L1L2 { l1: 0.0, l2: 0.0 }));
    assert_eq!(regularizer(Value::Null), None);
    let constraint = |value| read("bias_constraint", value).unwrap().config.bias_constraint;
    assert_eq!(constraint(json!("max_norm")), Some(Constraint::MaxNorm { max_value: 2.0, axis: vec![0] }));
    assert_eq!(constraint(json!("NonNeg")), Some(Constraint::NonNeg));
    let seed = |value| read("seed", value).unwrap().config.seed;
    let generator = json!({"module": "keras.random", "class_name": "SeedGenerator", "config": {"seed": 7}});
    assert_eq!((seed(json!(7)), seed(generator), seed(Value::Null)), (Some(7), Some(7), None));
    let dtype = |value| read("dtype", value).map(|parsed| parsed.config.dtype);
    assert_eq!(dtype(json!("mixed_float16")).unwrap(), DTypePolicy::MixedFloat16);
    assert_eq!(dtype(Value::Null).unwrap(), DTypePolicy::Float32);
    let policy =
        |class: &str, name: &str| json!({"module": "keras", "class_name": class, "config": {"name": name}});
    assert_eq!(dtype(policy("DTypePolicy", "bfloat16")).unwrap(), DTypePolicy::Bfloat16);
    let map = |map: Value| {
        json!({"module": "keras.dtype_policies", "class_name": "DTypePolicyMap",
        "config": {"default_policy": "mixed_bfloat16", "policy_map": map}})
    };
    assert_eq!(dtype(map(json!({}))).unwrap(), DTypePolicy::MixedBfloat16);
    for unsupported in [
        map(json!({"attn/query": "float32"})),
        json!("float64"),
        json!("int8_from_float32"),
        policy("DTypePolicy", "mixed_float64"),
        policy("QuantizedDTypePolicy", "int8_from_float32"),
        policy("DTypePolicyMap", "float32"),
        json!(32),
    ] {
        match dtype(unsupported.clone()) {
            Err(Error::Argument { argument, expected, .. }) => {
                assert_eq!(argument, "dtype");
                assert!(expected.contains("mixed_bfloat16") && expected.contains("quantized"), "{expected}");
            }
            other => panic!("{unsupported}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_keras_own_is_kept_and_reported() {
    let own =
        json!({"module": "mine", "class_name": "L2", "config": {"l2": 0.5}, "registered_name": "mine>L2"});
    let function =
        json!({"module": "builtins", "class_name": "function", "config": "f", "registered_name": "function"});
    let lambda = json!({"class_name": "__lambda__", "config": {"value": ["4wAA", null, null]}});
    let more = json!({"class_name": "HeNormal", "config": {"seed": null, "gain": 3.0, "input_axes": null}});
    let config = json!({
        "head_dim": 1, "num_query_heads": 1, "num_key_value_heads": 1, "autocast": true,
        "kernel_initializer": more, "bias_initializer": function, "kernel_regularizer": own,
        "activity_regularizer": "typing_error", "kernel_constraint": lambda,
    });
    let parsed = Config::from_keras_value(&config).unwrap();
    assert_eq!(
        parsed.unknown_keys,
        [
            "kernel_initializer=HeNormal",
            "bias_initializer=f",
            "kernel_regularizer=mine>L2",
            "activity_regularizer=typing_error",
            "kernel_constraint=__lambda__",
            "autocast",
        ]
    );
    let class_name = "mine>L2".to_owned();
    assert_eq!(parsed.config.kernel_regularizer, Some(Regularizer::Other { class_name, json: own }));
    let written = parsed.config.to_keras_json();
    for key in [
        "kernel_initializer",
        "bias_initializer",
        "kernel_regularizer",
        "activity_regularizer",
        "kernel_constraint",
    ] {
        assert_eq!(written["config"][key], config[key]);
    }
}

#[test]
fn values_that_make_no_layer_are_refused_by_name() {
    let cases = [
        ("head_dim", json!(0)),
        ("head_dim", json!(2.5)),
        ("head_dim", Value::Null),
        ("num_query_heads", json!(3)),
        ("num_query_heads", json!(-2)),
        ("num_key_value_heads", json!("2")),
        ("num_key_value_heads", json!(1e300)),
        ("dropout", json!(1.0)),
        ("dropout", json!("NaN")),
        ("dropout", Value::Null),
        ("use_bias", json!(1)),
        ("use_gate", json!("true")),
        ("sliding_window", json!(0)),
        ("sliding_window", json!(2.0)),
        ("flash_attention", json!("auto")),
        ("kernel_initializer", Value::Null),
        ("bias_initializer", json!([1])),
        ("kernel_regularizer", json!(0.1)),
        ("bias_constraint", json!([])),
        ("seed", json!(-1)),
        ("seed", json!({"class_name": "Zeros", "config": {}})),
        ("name", json!(5)),
        ("trainable", Value::Null),
    ];
    for (key, value) in cases {
        let mut config = json!({"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2});
        config[key] = value.clone();
        match Config::from_keras_value(&config) {
            Err(Error::Argument { argument, .. }) => assert_eq!(argument, key, "{value}"),
            other => panic!("{key} = {value}: {other:?}"),
        }
    }
    for missing in ["head_dim", "num_key_value_heads"] {
        let mut config = json!({"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2});
        config.as_object_mut().unwrap().remove(missing);
        match Config::from_keras_value(&config) {
            Err(Error::Argument { argument, got, .. }) => {
                assert_eq!((argument.as_str(), got.as_str()), (missing, "nothing"))
            }
            other => panic!("{missing}: {other:?}"),
        }
    }
}

#[test]
fn a_layer_that_cannot_be_used_does_not_hide_the_others() {
    let layer = |name: &str, dtype: &str| {
        let config = json!({"name": name, "head_dim": 1, "num_query_heads": 1, "num_key_value_heads": 1, "dtype": dtype});
        json!({"module": "keras.layers", "class_name": "GroupQueryAttention", "config": config})
    };
    let clip = r#"{"module": "keras.layers", "class_name": "ReLU", "config": {"max_value": Infinity}}"#;
    let model = format!(
        r#"{{"module": "keras", "class_name": "Sequential", "config": {{"name": "m", "layers": [{}, {}, {clip}]}}}}"#,
        layer("a", "int8_from_float32"),
        layer("b", "float16")
    );
    let file = ModelFile::from_bytes(model.clone()).unwrap();
    let names: Vec<_> = file.layers().iter().map(|layer| layer.name()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(matches!(file.layers()[0].config(), Err(Error::Argument { .. })));
    assert_eq!(file.layers()[1].config().unwrap().dtype, DTypePolicy::Float16);
    assert!(matches!(Config::from_keras_json(&model), Err(Error::AmbiguousLayer { wanted: None, .. })));
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![-1e3..1e3, Just(f64::INFINITY), Just(0.1), Just(1.0)]
}

fn other() -> impl Strategy<Value = (String, Value)> {
    ("[a-z]{1,6}>[A-Z][a-z]{1,6}", number()).prop_map(|(name, value)| {
        let json = json!({"module": "m", "class_name": "C", "config": {"v": value}, "registered_name": name});
        (name, json)
    })
}

fn initializer() -> impl Strategy<Value = Initializer> {
    let seed = || proptest::option::of(any::<u64>());
    let axes = || proptest::option::of(prop::collection::vec(-3..3i64, 0..3));
    let scaled = (seed(), axes(), axes());
    let mode = prop::sample::select(vec![FanMode::FanIn, FanMode::FanOut, FanMode::FanAvg]);
    let distribution = prop::sample::select(vec![
        VarianceDistribution::TruncatedNormal,
        VarianceDistribution::UntruncatedNormal,
        VarianceDistribution::Uniform,
    ]);
    let window = proptest::option::of(prop_oneof![
        "[a-z]{3,8}".prop_map(StftWindow::Named),
        prop::collection::vec(number(), 0..4).prop_map(StftWindow::Values),
    ]);
    let scaling =
        proptest::option::of(prop::sample::select(vec![StftScaling::Density, StftScaling::Spectrum]));
    let side = prop::sample::select(vec![StftSide::Real, StftSide::Imag]);
    prop_oneof![
        Just(Initializer::Zeros),
        Just(Initializer::Ones),
        number().prop_map(|value| Initializer::Constant { value }),
        number().prop_map(|gain| Initializer::Identity { gain }),
        (number(), number(), seed()).prop_map(|(mean, stddev, seed)| Initializer::RandomNormal {
            mean,
            stddev,
            seed
        }),
        (number(), number(), seed()).prop_map(|(mean, stddev, seed)| Initializer::TruncatedNormal {
            mean,
            stddev,
            seed
        }),
        (number(), number(), seed()).prop_map(|(minval, maxval, seed)| Initializer::RandomUniform {
            minval,
            maxval,
            seed
        }),
        (number(), mode, distribution, scaled).prop_map(
            |(scale, mode, distribution, (seed, input_axes, output_axes))| {
                Initializer::VarianceScaling { scale, mode, distribution, seed, input_axes, output_axes }
            }
        ),
        (0..6, (seed(), axes(), axes())).prop_map(|(kind, (seed, input_axes, output_axes))| match kind {
            0 => Initializer::GlorotUniform { seed, input_axes, output_axes },
            1 => Initializer::GlorotNormal { seed, input_axes, output_axes },
            2 => Initializer::LecunUniform { seed, input_axes, output_axes },
            3 => Initializer::LecunNormal { seed, input_axes, output_axes },
            4 => Initializer::HeUniform { seed, input_axes, output_axes },
            _ => Initializer::HeNormal { seed, input_axes, output_axes },
        }),
        (number(), seed()).prop_map(|(gain, seed)| Initializer::Orthogonal { gain, seed }),
        (side, window, scaling, any::<bool>()).prop_map(|(side, window, scaling, periodic)| {
            Initializer::Stft { side, window, scaling, periodic }
        }),
        other().prop_map(|(class_name, json)| Initializer::Other { class_name, json }),
    ]
}

fn regularizer() -> impl Strategy<Value = Option<Regularizer>> {
    let mode = prop::sample::select(vec![OrthogonalMode::Rows, OrthogonalMode::Columns]);
    proptest::option::of(prop_oneof![
        number().prop_map(|l1| Regularizer::L1 { l1 }),
        number().prop_map(|l2| Regularizer::L2 { l2 }),
        (number(), number()).prop_map(|(l1, l2)| Regularizer::L1L2 { l1, l2 }),
        (number(), mode).prop_map(|(factor, mode)| Regularizer::Orthogonal { factor, mode }),
        other().prop_map(|(class_name, json)| Regularizer::Other { class_name, json }),
    ])
}

fn constraint() -> impl Strategy<Value = Option<Constraint>> {
    let axis = || prop::collection::vec(-3..3i64, 0..4);
    proptest::option::of(prop_oneof![
        (number(), axis()).prop_map(|(max_value, axis)| Constraint::MaxNorm { max_value, axis }),
        (number(), number(), number(), axis()).prop_map(|(min_value, max_value, rate, axis)| {
            Constraint::MinMaxNorm { min_value, max_value, rate, axis }
        }),
        Just(Constraint::NonNeg),
        axis().prop_map(|axis| Constraint::UnitNorm { axis }),
        other().prop_map(|(class_name, json)| Constraint::Other { class_name, json }),
    ])
}

fn config() -> impl Strategy<Value = Config> {
    let sizes = ("[ -~é]{0,12}", 1..300usize, 1..9usize, 1..9usize, 0.0..1.0f64);
    let options = (
        any::<[bool; 3]>(),
        proptest::option::of(1..9usize),
        proptest::option::of(any::<bool>()),
        proptest::option::of(any::<u64>()),
        prop::sample::select(DTypePolicy::ALL.to_vec()),
    );
    let terms = (
        [initializer(), initializer()],
        [regularizer(), regularizer(), regularizer()],
        [constraint(), constraint()],
    );
    (sizes, options, terms).prop_map(|(sizes, options, terms)| {
        let (name, head_dim, group, num_key_value_heads, dropout) = sizes;
        let ([use_bias, use_gate, trainable], sliding_window, flash_attention, seed, dtype) = options;
        let ([kernel_initializer, bias_initializer], regularizers, [kernel_constraint, bias_constraint]) =
            terms;
        let [kernel_regularizer, bias_regularizer, activity_regularizer] = regularizers;
        Config {
            name,
            head_dim,
            num_query_heads: group * num_key_value_heads,
            num_key_value_heads,
            dropout,
            use_bias,
            use_gate,
            sliding_window,
            flash_attention,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            seed,
            dtype,
            trainable,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn writing_then_reading_gives_the_same_configuration(config in config()) {
        let json = config.to_keras_json();
        prop_assert_eq!(&Config::from_keras_value(&json).unwrap().config, &config);
        prop_assert_eq!(Config::from_keras_json(&json.to_string()).unwrap().config, config);
    }
}
