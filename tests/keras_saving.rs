//! Files written and read again. That Keras reads them too is `tests/loads_back.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use gqa::keras::{
    FileKind, LayerEntry, ModelFile, SavedCall, model_to_keras, weights_to_h5, weights_to_h5_at,
    weights_to_safetensors, write_tensors,
};
use gqa::{Array, Config, DType, DTypePolicy, Error, FeatureWidths, Weights};
use proptest::prelude::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// Every model among the fixtures: its name, the configuration from the side, its bytes.
fn models() -> Vec<(String, Option<String>, Vec<u8>)> {
    let mut found = Vec::new();
    for version in ["3.15.1", "3.6.0"] {
        let folder = Path::new(FIXTURES).join(format!("keras-{version}"));
        let rows: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for row in rows.as_array().unwrap() {
            let (model, weights) = (row["model"].as_str().unwrap(), row["weights"].as_str());
            // Large ones say nothing that small ones don't.
            if !seen.insert(model)
                || ["large", "wide", "long", "deep_heads"].iter().any(|l| model.starts_with(l))
            {
                continue;
            }
            let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
            let name = format!("{version}/{model}");
            found.push(match weights {
                Some(weights) => (name, Some(String::from_utf8(read(model)).unwrap()), read(weights)),
                None => (name, None, read(model)),
            });
        }
        let folder = Path::new(FIXTURES).join(format!("files/keras-{version}"));
        for name in ["single.keras", "several.keras", "custom.keras"] {
            found.push((format!("{version}/{name}"), None, std::fs::read(folder.join(name)).unwrap()));
        }
    }
    assert!(found.len() > 30, "{}", found.len());
    found
}

fn open(config: &Option<String>, bytes: &[u8]) -> ModelFile {
    match config {
        Some(config) => ModelFile::from_parts(config, bytes.to_vec()).unwrap(),
        None => ModelFile::from_bytes(bytes.to_vec()).unwrap(),
    }
}

/// The layers that can be read, with what they are.
fn layers(model: &ModelFile) -> Vec<(&LayerEntry, Config, Weights)> {
    let read = |layer| Some((layer, LayerEntry::config(layer).ok()?.clone(), model.weights(layer).ok()?));
    model.layers().iter().filter_map(read).collect()
}

fn rounded(weights: &Weights, dtype: DType) -> Weights {
    weights.map(|array| array.map(|&x| dtype.round(x)))
}

#[test]
fn what_keras_wrote_is_written_and_read_again() {
    let mut archives = 0;
    for (name, config, bytes) in models() {
        let model = open(&config, &bytes);
        for (_, config, weights) in layers(&model) {
            let kept = rounded(&weights, config.dtype.variable_dtype());
            let json = config.to_keras_json().to_string();
            for path in ["", "attn", "layers/grouped_query_attention"] {
                let h5 = weights_to_h5_at(path, &config, &weights).unwrap();
                let read = ModelFile::from_parts(&json, h5).unwrap();
                let layer = read.layer(None).unwrap();
                assert_eq!(layer.path(), Some(path));
                assert_eq!(
                    (layer.config().unwrap(), &read.weights(layer).unwrap()),
                    (&config, &kept),
                    "{name}"
                );
            }
            let widths = weights.widths("test", &config).unwrap();
            let call = SavedCall { key: widths.key != widths.value, ..Default::default() };
            match model_to_keras(&config, &weights, call) {
                Ok(archive) => {
                    let read = ModelFile::from_bytes(archive).unwrap();
                    let layer = read.layer(Some(&config.name)).unwrap();
                    assert_eq!(
                        (layer.config().unwrap(), &read.weights(layer).unwrap()),
                        (&config, &kept),
                        "{name}"
                    );
                    archives += 1;
                }
                Err(error) => assert_ne!(widths.query, widths.value, "{name}: {error}"),
            }
        }
    }
    assert!(archives > 30, "{archives}");
}

/// Every dataset with its type and bytes, and every attribute of it and of every group.
fn contents(h5: Vec<u8>) -> BTreeMap<String, (String, Vec<u8>)> {
    fn visit(group: &hdf5_pure::Group, path: &str, all: &mut BTreeMap<String, (String, Vec<u8>)>) {
        let attributes: BTreeMap<_, _> = group.attrs().unwrap().into_iter().collect();
        all.insert(format!("{path}/"), (format!("{attributes:?}"), Vec::new()));
        for (name, dataset) in group.iter_datasets().unwrap() {
            let attributes: BTreeMap<_, _> = dataset.attrs().unwrap().into_iter().collect();
            let about =
                format!("{:?} {:?} {attributes:?}", dataset.datatype().unwrap(), dataset.shape().unwrap());
            all.insert(format!("{path}/{name}"), (about, dataset.read_raw().unwrap()));
        }
        for (name, child) in group.iter_groups().unwrap() {
            visit(&child, &format!("{path}/{name}"), all);
        }
    }
    let mut all = BTreeMap::new();
    visit(&hdf5_pure::File::from_bytes(h5).unwrap().root(), "", &mut all);
    all
}

fn members(archive: &[u8]) -> BTreeMap<String, (zip::CompressionMethod, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut member = |index| {
        let mut file = zip.by_index(index).unwrap();
        let mut contents = Vec::new();
        file.read_to_end(&mut contents).unwrap();
        (String::from_utf8(file.name_raw().to_vec()).unwrap(), (file.compression(), contents))
    };
    (0..zip::ZipArchive::new(Cursor::new(archive)).unwrap().len()).map(&mut member).collect()
}

#[test]
fn replacing_a_layers_weights_changes_nothing_else() {
    let mut count = 0;
    for (name, config, bytes) in models() {
        let model = open(&config, &bytes);
        for (layer, _, weights) in layers(&model) {
            count += 1;
            let stored = match layer.weights()[0].dtype.as_str() {
                "float16" => DType::F16,
                "bfloat16" => DType::Bf16,
                _ => DType::F32,
            };
            let new = weights.map(|array| array.map(|&x| 0.5 - x));
            let replaced = model.replace_weights(layer, &new).unwrap();
            let again = open(&config, &replaced);
            assert_eq!(
                again.weights(again.layer(Some(layer.path().unwrap_or(layer.name()))).unwrap()).unwrap(),
                rounded(&new, stored),
                "{name}"
            );
            for ((other, _, before), (_, _, after)) in layers(&model).into_iter().zip(layers(&again)) {
                assert!(other.path() == layer.path() || before == after, "{name}: {}", other.name());
            }
            let h5 = |bytes: &[u8]| match model.kind() {
                FileKind::Archive => members(bytes)["model.weights.h5"].1.clone(),
                _ => bytes.to_vec(),
            };
            if model.kind() != FileKind::Safetensors {
                let (before, after) = (contents(h5(&bytes)), contents(h5(&replaced)));
                assert!(before.keys().eq(after.keys()));
                let changed: Vec<_> = before.keys().filter(|path| before[*path] != after[*path]).collect();
                let own = |path: &str| {
                    layer.weights().iter().any(|info| path == format!("/{}", path_of(layer, &info.name)))
                };
                assert!(changed.iter().all(|path| own(path)) && !changed.is_empty(), "{name}: {changed:?}");
                assert!(changed.iter().all(|path| before[*path].0 == after[*path].0), "{name}");
            }
            if model.kind() == FileKind::Archive {
                let (mut before, mut after) = (members(&bytes), members(&replaced));
                let compression =
                    [&mut before, &mut after].map(|all| all.remove("model.weights.h5").unwrap().0);
                assert_eq!((before, compression[0]), (after, compression[1]), "{name}");
            }
            // The same weights give the same bytes, of an archive those of its members.
            let same = model.replace_weights(layer, &weights).unwrap();
            match model.kind() {
                FileKind::Archive => assert_eq!(members(&same), members(&bytes), "{name}"),
                _ => assert_eq!(same, bytes, "{name}"),
            }
        }
    }
    assert!(count > 50, "{count}");
}

fn path_of(layer: &LayerEntry, name: &str) -> String {
    let (projection, variable) = name.split_once('/').unwrap();
    let group =
        format!("_{}_dense/vars/{}", projection.replace("attention_", ""), u8::from(variable == "bias"));
    let path = layer.path().unwrap();
    if path.is_empty() { group } else { format!("{path}/{group}") }
}

#[test]
fn assets_and_comments_of_archives_stay() {
    let config = Config { name: "attn".into(), ..Config::new(2, 2, 1) };
    let weights = common::weights(&config, FeatureWidths::all(3), 1);
    let mut zip = zip::ZipWriter::new_append(Cursor::new(
        model_to_keras(&config, &weights, SavedCall::default()).unwrap(),
    ))
    .unwrap();
    let deflated =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file("assets/vocabulary.txt", deflated).unwrap();
    zip.write_all(&[b'a'; 1000]).unwrap();
    zip.set_comment("kept").unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    let model = ModelFile::from_bytes(bytes.clone()).unwrap();
    let new = weights.map(|array| array.map(|x| x + 1.0));
    let replaced = model.replace_weights(model.layer(None).unwrap(), &new).unwrap();
    assert_eq!(zip::ZipArchive::new(Cursor::new(&replaced)).unwrap().comment(), b"kept");
    let (before, after) = (members(&bytes), members(&replaced));
    assert_eq!(before["assets/vocabulary.txt"], after["assets/vocabulary.txt"]);
    assert_eq!(before.len(), after.len());
    let model = ModelFile::from_bytes(replaced).unwrap();
    assert_eq!(model.weights(model.layer(None).unwrap()).unwrap(), new);
}

#[test]
fn other_tensors_and_metadata_of_safetensors_stay() {
    let config = Config { use_bias: false, ..Config::new(2, 2, 1) };
    let weights = common::weights(&config, FeatureWidths::all(3), 1);
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        let bytes = weights_to_safetensors(&weights, Some(&config), dtype).unwrap();
        let model = ModelFile::from_bytes(bytes.clone()).unwrap();
        let layer = model.layer(None).unwrap();
        let new = weights.map(|array| array.map(|x| x * 3.0));
        let replaced = model.replace_weights(layer, &new).unwrap();
        assert_eq!(replaced, weights_to_safetensors(&new, Some(&config), dtype).unwrap());
    }
}

#[test]
fn big_endian_variables_stay_big_endian() {
    use hdf5_pure::{Datatype, DatatypeByteOrder, FileBuilder, FloatingPointLayout};
    let config = Config { use_bias: false, ..Config::new(2, 2, 1) };
    let weights = common::weights(&config, FeatureWidths::all(3), 1);
    let layout = FloatingPointLayout::IEEE754_BINARY32;
    let datatype = Datatype::FloatingPoint { size: 4, byte_order: DatatypeByteOrder::BigEndian, layout };
    let build = |weights: &Weights, chunks: bool| {
        let mut file = FileBuilder::new();
        for (name, array) in weights.named() {
            let group = format!("_{}_dense", name.split('/').next().unwrap().replace("attention_", ""));
            let mut dense = file.create_group(&group);
            let mut vars = dense.create_group("vars");
            let shape: Vec<u64> = array.shape().iter().map(|&n| n as u64).collect();
            let bytes: Vec<u8> = array.data().iter().flat_map(|x| x.to_be_bytes()).collect();
            let dataset = vars.create_dataset("0");
            dataset.with_raw_data(datatype.clone(), bytes, array.data().len() as u64).with_shape(&shape);
            if chunks {
                dataset.with_chunks(&shape).with_deflate(6);
            }
            dense.add_group(vars.finish());
            file.add_group(dense.finish());
        }
        file.finish().unwrap()
    };
    let json = config.to_keras_json().to_string();
    let model = ModelFile::from_parts(&json, build(&weights, false)).unwrap();
    let new = weights.map(|array| array.map(|x| x - 0.25));
    assert_eq!(model.replace_weights(model.layer(None).unwrap(), &new).unwrap(), build(&new, false));

    let model = ModelFile::from_parts(&json, build(&weights, true)).unwrap();
    let layer = model.layer(None).unwrap();
    assert_eq!(model.weights(layer).unwrap(), weights);
    let error = model.replace_weights(layer, &new).unwrap_err().to_string();
    assert!(error.contains("_query_dense/vars/0") && error.contains("compressed"), "{error}");
}

#[test]
fn variables_that_share_their_bytes_are_refused() {
    let archive = std::fs::read(Path::new(FIXTURES).join("files/keras-3.15.1/single.keras")).unwrap();
    let (config, mut h5) =
        (members(&archive)["config.json"].1.clone(), members(&archive)["model.weights.h5"].1.clone());
    let file = hdf5_pure::File::from_bytes(h5.clone()).unwrap();
    let [key, value] = ["key", "value"].map(|name| {
        let path = format!("layers/grouped_query_attention/_{name}_dense/vars/1");
        match file.dataset(&path).unwrap().layout().unwrap() {
            hdf5_pure::Layout::Contiguous { address: Some(address), size } => {
                [address.to_le_bytes(), size.to_le_bytes()].concat()
            }
            layout => panic!("{layout:?}"),
        }
    });
    let at = h5.windows(16).position(|bytes| bytes == key).unwrap();
    h5[at..at + 16].copy_from_slice(&value);
    let model = ModelFile::from_parts(std::str::from_utf8(&config).unwrap(), h5).unwrap();
    let layer = model.layer(None).unwrap();
    let weights = model.weights(layer).unwrap();
    assert_eq!(weights.key.bias, weights.value.bias);
    let error = model.replace_weights(layer, &weights).unwrap_err().to_string();
    assert!(error.contains("shares its bytes"), "{error}");
}

#[test]
fn what_can_not_be_saved_is_refused_by_name() {
    let config = Config { name: "attn".into(), ..Config::new(2, 4, 2) };
    let widths = FeatureWidths { query: 3, key: 5, value: 6 };
    let (weights, even) =
        (common::weights(&config, widths, 1), common::weights(&config, FeatureWidths::all(3), 1));
    let mut misshapen = even.clone();
    misshapen.key.kernel = Array::from_fn([3, 2, 3], |_| 1.0);
    let mut unbiased = even.clone();
    unbiased.value.bias = None;
    let gated = Config { use_gate: true, ..config.clone() };
    let none = Config { num_key_value_heads: 3, ..config.clone() };
    let named = |name: &str| Config { name: name.into(), ..config.clone() };
    let alone = SavedCall::default();
    let key = SavedCall { key: true, ..alone };

    let model = ModelFile::from_bytes(model_to_keras(&config, &even, alone).unwrap()).unwrap();
    let layer = model.layer(None).unwrap();
    let other = ModelFile::from_bytes(config.to_keras_json().to_string().into_bytes()).unwrap();
    let cases = [
        (weights_to_h5(&config, &misshapen), "`key/kernel` must be of shape [3, 2, 2]"),
        (weights_to_h5(&config, &unbiased), "`value/bias` is missing"),
        (weights_to_h5(&gated, &even), "`gate/kernel` is missing"),
        (weights_to_h5(&none, &even), "num_query_heads"),
        (weights_to_h5_at("/attn", &config, &even), "`path`"),
        (weights_to_h5_at("a//b", &config, &even), "`path`"),
        (weights_to_h5_at("../a", &config, &even), "`path`"),
        (model_to_keras(&config, &misshapen, alone), "`key/kernel`"),
        (model_to_keras(&none, &even, alone), "num_query_heads"),
        (model_to_keras(&named("a/b"), &even, alone), "`name`"),
        (model_to_keras(&named(""), &even, alone), "`name`"),
        (model_to_keras(&config, &weights, key), "`value` must be as wide as query"),
        (
            model_to_keras(
                &config,
                &common::weights(&config, FeatureWidths { key: 5, ..FeatureWidths::all(3) }, 1),
                alone,
            ),
            "`key` must be as wide as value",
        ),
        (
            model.replace_weights(layer, &misshapen),
            "`key/kernel` must be of shape [3, 2, 2], which the file has",
        ),
        (model.replace_weights(layer, &unbiased), "`value/bias` is missing"),
        (
            model.replace_weights(layer, &common::weights(&gated, FeatureWidths::all(3), 1)),
            "unknown tensor `gate/kernel`",
        ),
        (other.replace_weights(layer, &even), "no weights"),
        (model.replace_weights(other.layer(None).unwrap(), &even), "no grouped-query attention layer `attn`"),
    ];
    for (at, (result, wanted)) in cases.into_iter().enumerate() {
        let error = result.unwrap_err();
        assert!(!matches!(error, Error::Gpu { .. }) && error.to_string().contains(wanted), "{at}: {error}");
    }
    // Integers are no weights.
    let query = Array::from_fn([3, 4, 2], |_| 1.0);
    let file = write_tensors([("query/kernel", &query)], DType::F32).unwrap();
    let at = String::from_utf8_lossy(&file).find("F32").unwrap();
    let mut integers = file;
    integers[at..at + 3].copy_from_slice(b"I32");
    let model = ModelFile::from_parts(&config.to_keras_json().to_string(), integers).unwrap();
    assert!(model.replace_weights(model.layer(None).unwrap(), &even).is_err());
}

#[test]
fn inputs_never_have_the_layers_name() {
    for name in ["query", "value", "key", "functional", "grouped_query_attention", "é \"\\ \u{1}"] {
        let config = Config { name: name.into(), ..Config::new(2, 2, 1) };
        let weights = common::weights(&config, FeatureWidths::all(3), 1);
        let archive =
            model_to_keras(&config, &weights, SavedCall { key: true, use_causal_mask: true }).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&members(&archive)["config.json"].1).unwrap();
        let names: std::collections::BTreeSet<_> = json["config"]["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["name"].to_string())
            .collect();
        assert_eq!(names.len(), 4, "{name}");
        let model = ModelFile::from_bytes(archive).unwrap();
        assert_eq!(model.weights(model.layer(Some(name)).unwrap()).unwrap(), weights);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_layer_is_read_as_it_was_written(
        (hkv, group, d) in (1usize..4, 1usize..4, 1usize..6),
        widths in prop::array::uniform2(1usize..9),
        (use_bias, use_gate, key, causal) in any::<(bool, bool, bool, bool)>(),
        dtype in prop::sample::select(DTypePolicy::ALL.to_vec()),
        name in "[^/\u{0}]{1,12}",
        path in prop::sample::select(vec!["", "a", "layers/block_2/attn"]),
        seed in any::<u32>(),
    ) {
        let config = Config { use_bias, use_gate, dtype, name, ..Config::new(d, hkv * group, hkv) };
        let widths = FeatureWidths { query: widths[0], value: widths[0], key: widths[usize::from(key)] };
        let weights = rounded(&common::weights(&config, widths, seed % 1000), dtype.variable_dtype());
        let call = SavedCall { key, use_causal_mask: causal };
        let archive = model_to_keras(&config, &weights, call).unwrap();
        prop_assert_eq!(&archive, &model_to_keras(&config, &weights, call).unwrap());
        let model = ModelFile::from_bytes(archive).unwrap();
        let layer = model.layer(None).unwrap();
        prop_assert_eq!((layer.config().unwrap(), layer.widths()), (&config, Some(widths)));
        prop_assert_eq!(&model.weights(layer).unwrap(), &weights);

        let h5 = weights_to_h5_at(path, &config, &weights).unwrap();
        let model = ModelFile::from_parts(&config.to_keras_json().to_string(), h5).unwrap();
        let layer = model.layer(None).unwrap();
        prop_assert_eq!((layer.path(), &model.weights(layer).unwrap()), (Some(path), &weights));
        let own = model.layers()[0].name().to_owned();
        prop_assert_eq!(own, config.name);
    }
}
