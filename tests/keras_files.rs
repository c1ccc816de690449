//! Files that Keras wrote (`tests/fixtures/files/make.py` says how): which layers they have, and their weights.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;

use gqa::{
    Array, Config, DType, Error, FeatureWidths, Weights,
    keras::{FileKind, ModelFile, TensorData, read_tensors, weights_to_safetensors, write_tensors},
    weight_specs,
};
use serde_json::json;

const VERSIONS: [&str; 2] = ["3.15.1", "3.6.0"];
const PROJECTIONS: [&str; 5] = ["query", "key", "value", "gate", "attention_output"];

fn fixture(version: &str, name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/files/keras-{version}/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn member(archive: &[u8], name: &str) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    let mut contents = Vec::new();
    zip.by_name(name).unwrap().read_to_end(&mut contents).unwrap();
    contents
}

fn text(archive: &[u8], name: &str) -> String {
    String::from_utf8(member(archive, name)).unwrap()
}

/// The weights that make.py gives to layer number `n`.
fn expected(n: usize, config: &Config, widths: FeatureWidths) -> Weights {
    let dtype = config.dtype.variable_dtype();
    Weights::from_named("expected", config, |name| {
        let spec = weight_specs(config, widths).into_iter().find(|spec| spec.name() == name).unwrap();
        let projection = PROJECTIONS.iter().position(|p| *p == spec.projection).unwrap();
        let variable = usize::from(spec.variable == "bias");
        let start = n as f32 + (5 * variable + projection) as f32 / 32.0;
        Ok(Some(Array::from_fn(spec.shape, |i| dtype.round(start + i as f32 / 1024.0))))
    })
    .unwrap()
}

/// The layers of `several.keras` in Keras' order: name, its number in make.py, HDF5 group.
const SEVERAL: [(&str, usize, &str); 8] = [
    ("cross", 0, "layers/grouped_query_attention"),
    ("grouped_query_attention", 1, "layers/grouped_query_attention_1"),
    ("shared/attn", 2, "layers/functional/layers/grouped_query_attention"),
    ("encoder/deep/attn", 3, "layers/functional_1/layers/functional/layers/grouped_query_attention"),
    ("encoder/attn", 4, "layers/functional_1/layers/grouped_query_attention"),
    ("stack/first/attn", 5, "layers/sequential/layers/functional/layers/grouped_query_attention"),
    ("stack/second/attn", 6, "layers/sequential/layers/functional_1/layers/grouped_query_attention"),
    ("last", 7, "layers/grouped_query_attention_2"),
];

fn check_several(model: &ModelFile, context: &str) {
    let names: Vec<_> = model.layers().iter().map(|layer| layer.name()).collect();
    assert_eq!(names, SEVERAL.map(|(name, ..)| name), "{context}");
    for (name, n, path) in SEVERAL {
        let layer = model.layer(Some(name)).unwrap();
        assert_eq!(layer.path(), Some(path), "{context}");
        let widths = FeatureWidths { query: 3, key: if n == 0 { 5 } else { 3 }, value: 3 };
        assert_eq!(layer.widths(), Some(widths));
        assert_eq!(
            model.weights(layer).unwrap(),
            expected(n, layer.config().unwrap(), widths),
            "{context} {name}"
        );
    }
}

#[test]
fn every_layer_of_nested_models_gets_its_own_weights() {
    for version in VERSIONS {
        let model = ModelFile::from_bytes(fixture(version, "several.keras")).unwrap();
        assert_eq!((model.kind(), model.keras_version()), (FileKind::Archive, Some(version)));
        check_several(&model, version);
        let last = model.layer(Some("last")).unwrap().config().unwrap();
        assert_eq!((last.head_dim, last.num_query_heads, last.num_key_value_heads), (3, 2, 1));
        let newer = version == "3.15.1";
        assert_eq!((last.use_gate, last.sliding_window), (newer, newer.then_some(4)));
    }
}

#[test]
fn configuration_and_weights_may_come_apart() {
    for version in VERSIONS {
        let archive = fixture(version, "several.keras");
        let (config, weights) = (text(&archive, "config.json"), member(&archive, "model.weights.h5"));
        let model = ModelFile::from_parts(&config, weights.clone()).unwrap();
        assert_eq!(model.kind(), FileKind::H5);
        check_several(&model, version);
        check_several(&ModelFile::from_parts(&config, archive).unwrap(), version);

        // As Keras does, whatever the layers were called when the weights were written.
        let renamed =
            config.replace("\"cross\"", "\"grouped_query_attention\"").replace("\"last\"", "\"cross\"");
        let model = ModelFile::from_parts(&renamed, weights).unwrap();
        let paths: Vec<_> = model.layers().iter().map(|layer| layer.path().unwrap()).collect();
        assert_eq!(paths, SEVERAL.map(|(.., path)| path));
    }
}

#[test]
fn weights_alone_show_their_layers() {
    let archive = fixture("3.15.1", "several.keras");
    let model = ModelFile::from_bytes(member(&archive, "model.weights.h5")).unwrap();
    let mut paths: Vec<_> = model.layers().iter().map(|layer| layer.path().unwrap()).collect();
    let mut wanted = SEVERAL.map(|(.., path)| path);
    paths.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(paths, wanted);
    let cross = model.layer(Some("cross")).unwrap();
    let shapes: Vec<_> =
        cross.weights().iter().map(|info| (info.name.as_str(), info.shape.clone())).collect();
    assert_eq!(
        shapes,
        [
            ("query/kernel", vec![3, 4, 2]),
            ("query/bias", vec![4, 2]),
            ("key/kernel", vec![5, 2, 2]),
            ("key/bias", vec![2, 2]),
            ("value/kernel", vec![3, 2, 2]),
            ("value/bias", vec![2, 2]),
            ("attention_output/kernel", vec![4, 2, 3]),
            ("attention_output/bias", vec![3]),
        ]
    );
    assert!(cross.weights().iter().all(|info| info.dtype == "float32"));
    let error = model.weights(cross).unwrap_err().to_string();
    assert!(error.contains("give the JSON configuration"), "{error}");
    let dense = model
        .tensors()
        .into_iter()
        .find(|info| info.name == "layers/sequential/layers/dense/vars/0")
        .unwrap();
    assert_eq!((dense.shape, dense.dtype.as_str()), (vec![3, 3], "float32"));
}

#[test]
fn one_layers_configuration_reads_whichever_layer_is_chosen() {
    let archive = fixture("3.15.1", "several.keras");
    let weights = member(&archive, "model.weights.h5");
    let mut config = Config::new(2, 2, 1);
    config.name = "attn".into();
    let json = config.to_keras_json();
    for json in [json.to_string(), json["config"].to_string()] {
        let model = ModelFile::from_parts(&json, weights.clone()).unwrap();
        let path = "layers/sequential/layers/functional_1/layers/grouped_query_attention";
        let layer = model.layer(Some(path)).unwrap();
        assert_eq!(model.weights(layer).unwrap(), expected(6, &config, FeatureWidths::all(3)));
        assert!(matches!(model.layer(None), Err(Error::AmbiguousLayer { wanted: None, .. })));
    }
    // Where the configuration names one of several layers, no other name is needed.
    let config = Config { name: "cross".into(), ..Config::new(2, 4, 2) };
    let model = ModelFile::from_parts(&config.to_keras_json().to_string(), weights).unwrap();
    let layer = model.layer(None).unwrap();
    let widths = FeatureWidths { query: 3, key: 5, value: 3 };
    assert_eq!(model.weights(layer).unwrap(), expected(0, &config, widths));
}

#[test]
fn names_that_are_not_enough_list_the_layers() {
    let model = ModelFile::from_bytes(fixture("3.6.0", "several.keras")).unwrap();
    let Err(Error::AmbiguousLayer { wanted: None, candidates }) = model.layer(None) else { panic!() };
    assert_eq!(candidates, SEVERAL.map(|(name, ..)| name));
    let Err(Error::AmbiguousLayer { wanted: Some(wanted), candidates }) = model.layer(Some("attn")) else {
        panic!()
    };
    assert_eq!(wanted, "attn");
    assert_eq!(
        candidates,
        ["shared/attn", "encoder/deep/attn", "encoder/attn", "stack/first/attn", "stack/second/attn"]
    );
    let Err(Error::LayerNotFound { available, .. }) = model.layer(Some("atn")) else { panic!() };
    assert_eq!(available, SEVERAL.map(|(name, ..)| name));
    assert_eq!(model.layer(Some("layers/grouped_query_attention_2")).unwrap().name(), "last");
}

#[test]
fn layers_of_custom_classes_are_found_and_read_in_half_precision() {
    for version in VERSIONS {
        let archive = fixture(version, "custom.keras");
        let model = ModelFile::from_bytes(archive.clone()).unwrap();
        let paths: Vec<_> = model.layers().iter().map(|layer| layer.path().unwrap()).collect();
        // Not those of MultiHeadAttention beside them.
        assert_eq!(paths, ["head", "blocks/halves/attn", "blocks/halves_1/attn"], "{version}");
        let head = model.layer(Some("head")).unwrap();
        assert_eq!(head.unknown_keys(), ["kernel_initializer=test>Own"]);
        assert_eq!(model.weights(head).unwrap(), expected(2, head.config().unwrap(), FeatureWidths::all(3)));
        let error = model.layer(Some("blocks/halves/attn")).unwrap().config().unwrap_err().to_string();
        assert!(error.contains("get_config"), "{error}");

        // A class may keep a layer under another name than its configuration does, even one that another layer has.
        let json: serde_json::Value = serde_json::from_str(&text(&archive, "config.json")).unwrap();
        let head = &json["config"]["head"];
        let object = |class: &str, config| json!({"module": "test", "class_name": class, "registered_name": format!("test>{class}"), "config": config});
        let halves = object("Halves", json!({"attn": head}));
        for config in [json!({"first": head}), json!({"blocks": [halves]})] {
            let model =
                ModelFile::from_parts(&object("Custom", config).to_string(), archive.clone()).unwrap();
            let paths: Vec<_> = model.layers().iter().map(|layer| layer.path().unwrap()).collect();
            assert_eq!(paths, ["head", "blocks/halves/attn", "blocks/halves_1/attn"], "{version}");
            assert_eq!(model.layers()[0].config().unwrap().name, "head");
        }

        for (n, path, dtype) in
            [(0, "blocks/halves/attn", "float16"), (1, "blocks/halves_1/attn", "bfloat16")]
        {
            let policy = gqa::DTypePolicy::from_name(dtype).unwrap();
            let config = Config { dtype: policy, ..Config::new(2, 2, 1) };
            let model = ModelFile::from_parts(&config.to_keras_json().to_string(), archive.clone()).unwrap();
            let layer = model.layer(Some(path)).unwrap();
            assert!(layer.weights().iter().all(|info| info.dtype == dtype), "{:?}", layer.weights());
            assert_eq!(model.weights(layer).unwrap(), expected(n, &config, FeatureWidths::all(3)));
        }
    }
}

#[test]
fn weights_must_be_those_of_the_configuration() {
    let weights = member(&fixture("3.15.1", "single.keras"), "model.weights.h5");
    let read = |config: &Config| {
        let model = ModelFile::from_parts(&config.to_keras_json().to_string(), weights.clone()).unwrap();
        model.weights(model.layer(None).unwrap())
    };
    let right = Config::new(2, 2, 1);
    assert_eq!(read(&right).unwrap(), expected(0, &right, FeatureWidths::all(3)));
    match read(&Config::new(4, 1, 1)) {
        Err(Error::Argument { argument, expected, got, .. }) => {
            assert_eq!((argument.as_str(), got.as_str()), ("query/kernel", "[3, 2, 2]"));
            assert!(expected.contains("[3, 1, 4]"), "{expected}");
        }
        other => panic!("{other:?}"),
    }
    match read(&Config { use_bias: false, ..right.clone() }) {
        Err(Error::UnknownTensor { name, known, .. }) => {
            assert_eq!((name.as_str(), known.len()), ("query/bias", 4));
        }
        other => panic!("{other:?}"),
    }
    match read(&Config { use_gate: true, ..right }) {
        Err(Error::MissingTensor { name, found, .. }) => {
            assert_eq!((name.as_str(), found.len()), ("gate/kernel", 8));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_types_are_refused_by_name() {
    let mut file = hdf5_pure::FileBuilder::new();
    let mut layer = file.create_group("attn");
    for (group, shape) in [
        ("_query_dense", [3, 2, 2]),
        ("_key_dense", [3, 1, 2]),
        ("_value_dense", [3, 1, 2]),
        ("_output_dense", [2, 2, 3]),
    ] {
        let mut dense = layer.create_group(group);
        let mut vars = dense.create_group("vars");
        let count = shape.iter().product::<u64>() as usize;
        match group {
            "_value_dense" => vars.create_dataset("0").with_f64_data(&vec![1.0; count]).with_shape(&shape),
            _ => vars.create_dataset("0").with_f32_data(&vec![1.0; count]).with_shape(&shape),
        };
        dense.add_group(vars.finish());
        layer.add_group(dense.finish());
    }
    file.add_group(layer.finish());
    let config = Config { use_bias: false, ..Config::new(2, 2, 1) };
    let model = ModelFile::from_parts(&config.to_keras_json().to_string(), file.finish().unwrap()).unwrap();
    match model.weights(model.layer(Some("attn")).unwrap()) {
        Err(Error::Argument { argument, expected, got, .. }) => {
            assert_eq!(argument, "attn/_value_dense/vars/0");
            assert!(expected.contains("float32") && got.contains("float64"), "{expected} {got}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn formats_without_a_way_in_say_what_to_do() {
    let legacy = ModelFile::from_bytes(fixture("3.15.1", "legacy.h5")).unwrap();
    assert!(legacy.tensors().iter().any(|info| info.name.ends_with("query/kernel")));
    let cases = [
        (legacy.layer(None).map(|_| ()), "Keras 2"),
        (ModelFile::from_bytes(*b"{\"metadata\": {}, \"weight_map\": {}}").map(|_| ()), "shards"),
        (ModelFile::from_parts("{}", *b"{}").map(|_| ()), "second configuration"),
        (
            ModelFile::from_bytes(packed(&[("config.json", b"{}"), ("model.weights.npz", b"")])).map(|_| ()),
            "npz",
        ),
        (
            ModelFile::from_bytes(packed(&[("config.json", b"{}"), ("model.weights.json", b"")])).map(|_| ()),
            "shards",
        ),
        (ModelFile::from_bytes(packed(&[("word/document.xml", b"")])).map(|_| ()), "word/document.xml"),
    ];
    for (result, wanted) in cases {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let config = ModelFile::from_bytes(member(&fixture("3.6.0", "single.keras"), "config.json")).unwrap();
    let layer = config.layer(Some("attn")).unwrap();
    assert_eq!((config.kind(), layer.config().unwrap().head_dim), (FileKind::Config, 2));
    assert!(matches!(config.weights(layer), Err(Error::File { .. })));
}

fn packed(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, contents) in members {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, contents).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn safetensors_hold_one_layer() {
    let config = Config { use_gate: true, name: "attn".into(), ..Config::new(2, 4, 2) };
    let widths = FeatureWidths { query: 3, key: 5, value: 6 };
    let weights = expected(1, &config, widths);
    let json = config.to_keras_json().to_string();
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        let rounded = weights.map(|array| array.map(|&x| dtype.round(x)));
        let whole = weights_to_safetensors(&weights, Some(&config), dtype).unwrap();
        let model = ModelFile::from_bytes(whole).unwrap();
        let layer = model.layer(Some("attn")).unwrap();
        assert_eq!((layer.config().unwrap(), layer.widths()), (&config, Some(widths)));
        assert_eq!(model.weights(layer).unwrap(), rounded);

        let bare = weights_to_safetensors(&weights, None, dtype).unwrap();
        let model = ModelFile::from_bytes(bare.clone()).unwrap();
        assert_eq!((model.kind(), model.layers().len()), (FileKind::Safetensors, 1));
        assert!(model.weights(model.layer(None).unwrap()).is_err());
        let model = ModelFile::from_parts(&json, bare).unwrap();
        assert_eq!(model.weights(model.layer(None).unwrap()).unwrap(), rounded);
    }
}

#[test]
fn a_safetensors_file_may_start_with_any_byte() {
    // Its first byte is the length of its header, here that of `{`.
    let mut header = String::from(r#"{"query/kernel":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    header.extend(std::iter::repeat_n(' ', usize::from(b'{') - header.len()));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    assert_eq!(file[0], b'{');
    assert_eq!(ModelFile::from_bytes(file).unwrap().kind(), FileKind::Safetensors);
    assert_eq!(ModelFile::from_bytes(*b"\xef\xbb\xbf {\"a\": [{}]}").unwrap().kind(), FileKind::Config);
}

#[test]
fn safetensors_names_and_shapes_are_checked() {
    let config = Config { use_bias: false, ..Config::new(2, 2, 1) };
    type Named = Vec<(String, Array)>;
    let named = |change: &dyn Fn(&mut Named)| {
        let weights = expected(0, &config, FeatureWidths::all(3));
        let mut named: Vec<_> =
            weights.named().into_iter().map(|(name, array)| (name, array.clone())).collect();
        change(&mut named);
        let file =
            write_tensors(named.iter().map(|(name, array)| (name.as_str(), array)), DType::F32).unwrap();
        let model = ModelFile::from_parts(&config.to_keras_json().to_string(), file).unwrap();
        model.weights(model.layer(None).unwrap())
    };
    assert!(named(&|_| ()).is_ok());
    match named(&|all| all[1].0 = "keys/kernel".into()) {
        Err(Error::MissingTensor { name, found, .. }) => {
            assert_eq!(name, "key/kernel");
            assert!(found.contains(&"keys/kernel".into()));
        }
        other => panic!("{other:?}"),
    }
    match named(&|all| all.push(("query/scale".into(), Array::from_fn([1], |_| 1.0)))) {
        Err(Error::UnknownTensor { name, .. }) => assert_eq!(name, "query/scale"),
        other => panic!("{other:?}"),
    }
    match named(&|all| all[3].1 = Array::from_fn([2, 3, 2], |_| 1.0)) {
        Err(Error::Argument { argument, .. }) => assert_eq!(argument, "attention_output/kernel"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn inputs_are_floats_or_masks() {
    let header = r#"{"flag":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]},"byte":{"dtype":"U8","shape":[1,2],"data_offsets":[3,5]},"half":{"dtype":"BF16","shape":[1],"data_offsets":[5,7]},"scalar":{"dtype":"F32","shape":[],"data_offsets":[7,11]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend([0, 1, 1, 0, 7, 0x80, 0x3f]);
    file.extend(2.5f32.to_le_bytes());
    let tensors = read_tensors(&file).unwrap();
    let names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["flag", "byte", "half", "scalar"]);
    assert_eq!(tensors[0].clone().into_mask().unwrap(), Array::new([3], [false, true, true]).unwrap());
    assert_eq!(tensors[1].data, TensorData::Mask(Array::new([1, 2], [false, true]).unwrap()));
    assert_eq!(tensors[2].clone().into_float().unwrap().data(), [1.0]);
    assert_eq!((tensors[3].dtype, tensors[3].clone().into_float().unwrap().shape()), (DType::F32, &[][..]));
    for (tensor, wanted) in [
        (tensors[0].clone().into_float().map(|_| ()), "flag"),
        (tensors[2].clone().into_mask().map(|_| ()), "half"),
    ] {
        match tensor {
            Err(Error::Argument { argument, .. }) => assert_eq!(argument, wanted),
            other => panic!("{other:?}"),
        }
    }
    let mut wide = file.clone();
    let at = header.find("BOOL\"").unwrap() + 8;
    wide[at..at + 5].copy_from_slice(b"I8\"  ");
    match read_tensors(&wide) {
        Err(Error::Argument { argument, got, .. }) => {
            assert_eq!((argument.as_str(), got.as_str()), ("flag", "I8"))
        }
        other => panic!("{other:?}"),
    }
}
