//! Damaged and hostile files: every one is refused or read, none panics, and none takes more memory than the limits
//! allow. An allocator that counts says how much each takes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::{Cursor, Read, Write},
};

use gqa::{
    Array, Config, DType, Error, FeatureWidths, Weights,
    keras::{Limits, ModelFile, read_tensors, weights_to_safetensors, write_tensors},
    weight_specs,
};
use hdf5_pure::MaxExtent;

struct Counting;

thread_local! {
    /// Bytes in use by this thread, and the most that there have been since [`peak`] began.
    static USED: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(change: isize) {
    // A thread that is ending has no counter any more.
    let _ = USED.try_with(|used| {
        let (now, peak) = used.get();
        used.set((now + change, peak.max(now + change)));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `f`, and how many bytes it had in use at most.
fn peak<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let (before, _) = USED.get();
    USED.set((before, before));
    let result = f();
    (result, (USED.get().1 - before) as usize)
}

/// Does everything with a file that can be done with it, and says how many layers' weights could be read.
fn read_all(bytes: &[u8], config: Option<&str>, limits: &Limits) -> Result<usize, Error> {
    let model = ModelFile::read(bytes.to_vec(), config, limits)?;
    let _ = (model.tensors(), model.layer(None).is_ok(), model.layer(Some("attn")).is_ok());
    let read = |layer| model.weights(layer).inspect(|weights| assert!(!weights.named().is_empty()));
    let results: Vec<_> = model.layers().iter().map(read).collect();
    let count = results.iter().filter(|result| result.is_ok()).count();
    results
        .into_iter()
        .find_map(Result::err)
        .map_or(Ok(count), |error| if count > 0 { Ok(count) } else { Err(error) })
}

/// Puts other weights into every layer that can be read.
fn replace_all(bytes: &[u8], config: Option<&str>) -> Result<(), Error> {
    let model = ModelFile::read(bytes.to_vec(), config, &SMALL)?;
    for layer in model.layers() {
        let weights = model.weights(layer)?.map(|array| array.map(|x| x + 1.0));
        model.replace_weights(layer, &weights)?;
    }
    Ok(())
}

fn archive() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/files/keras-3.15.1/single.keras");
    std::fs::read(path).unwrap()
}

fn member(name: &str) -> Vec<u8> {
    let mut contents = Vec::new();
    zip::ZipArchive::new(Cursor::new(archive()))
        .unwrap()
        .by_name(name)
        .unwrap()
        .read_to_end(&mut contents)
        .unwrap();
    contents
}

fn config() -> Config {
    Config { name: "attn".into(), ..Config::new(2, 2, 1) }
}

fn tensors() -> Vec<u8> {
    let weights = Weights::from_named("test", &config(), |name| {
        let specs = weight_specs(&config(), FeatureWidths::all(3));
        let spec = specs.into_iter().find(|spec| spec.name() == name).unwrap();
        Ok(Some(Array::from_fn(spec.shape, |i| i as f32)))
    });
    weights_to_safetensors(&weights.unwrap(), Some(&config()), DType::F16).unwrap()
}

/// One valid file of each kind, with the configuration that it needs from the side.
fn files() -> Vec<(&'static str, Vec<u8>, Option<String>)> {
    let json = String::from_utf8(member("config.json")).unwrap();
    vec![
        ("archive", archive(), None),
        (
            "compressed archive",
            packed(&[("config.json", json.as_bytes()), ("model.weights.h5", &member("model.weights.h5"))]),
            None,
        ),
        ("h5", member("model.weights.h5"), Some(json.clone())),
        ("safetensors", tensors(), None),
        ("json", json.into_bytes(), None),
    ]
}

fn packed(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents) in members {
        let options =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        zip.start_file(*name, options).unwrap();
        zip.write_all(contents).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Small limits, so that a test can exceed them.
const SMALL: Limits = Limits { json_bytes: 1 << 16, expansion: 4, always_allowed: 1 << 18 };

/// What reading may have in use: the file itself twice (a member and the archive, or what it was made from), the largest
/// member or array twice (as bytes and as numbers), JSON as values, and some change.
fn allowed(bytes: usize, limits: &Limits) -> usize {
    2 * bytes + 2 * (limits.always_allowed.max(limits.expansion * bytes)) + 40 * limits.json_bytes + (1 << 20)
}

fn check(what: &str, bytes: &[u8], config: Option<&str>, limits: &Limits) -> Result<usize, Error> {
    let (result, used) = peak(|| read_all(bytes, config, limits));
    let allowed = allowed(bytes.len(), limits);
    assert!(used <= allowed, "{what}: {used} bytes in use, {allowed} allowed: {result:?}");
    result
}

#[test]
fn the_files_are_readable_when_whole() {
    for (kind, file, config) in files() {
        let result = check(kind, &file, config.as_deref(), &SMALL);
        match kind {
            "json" => assert!(result.is_err()),
            _ => {
                assert_eq!(result, Ok(1), "{kind}");
                assert_eq!(replace_all(&file, config.as_deref()), Ok(()), "{kind}");
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (kind, file, config) in files() {
        for length in 0..file.len() {
            let result = check(kind, &file[..length], config.as_deref(), &SMALL);
            assert!(result.is_err(), "{kind} cut to {length} of {} bytes: {result:?}", file.len());
        }
    }
}

/// xorshift64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[test]
fn changed_bytes_never_panic() {
    const EXTREMES: [u64; 7] = [u64::MAX, 1 << 63, 1 << 40, 1 << 32, u32::MAX as u64, (1 << 31) - 1, 0];
    for (kind, file, config) in files() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..3000 {
            let mut file = file.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(file.len() - 8);
                match random.below(4) {
                    0 => file[at] ^= 1 << random.below(8),
                    1 => file[at] = random.next() as u8,
                    2 => file[at..at + 8]
                        .copy_from_slice(&EXTREMES[random.below(EXTREMES.len())].to_le_bytes()),
                    _ => {
                        let (from, length) =
                            (random.below(file.len() - 8), random.below(64).min(file.len() - at));
                        let from = from.min(file.len() - length);
                        file.copy_within(from..from + length, at);
                    }
                }
            }
            let _ = check(kind, &file, config.as_deref(), &SMALL);
            let _ = replace_all(&file, config.as_deref());
        }
    }
}

#[test]
fn other_files_are_named_for_what_they_are() {
    for (bytes, wanted) in [
        (&b""[..], "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b"Dear reader, this is a letter.", "Dear rea"),
        (b"\x7fELF\x02\x01\x01\0", "\\x7fELF"),
        (b"PK\x03\x04", "zip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"{", "JSON"),
        (b"\x02\0\0\0\0\0\0\0{}", "no grouped-query attention"),
        (b"{}", "no grouped-query attention"),
    ] {
        let error = ModelFile::from_bytes(bytes)
            .and_then(|model| model.layer(None).map(|_| ()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{bytes:?}: {error}");
        assert!(read_tensors(bytes).is_err() || bytes.len() == 10);
    }
}

#[test]
fn archives_that_unpack_to_too_much_are_refused() {
    let zeros = vec![0; 100 << 20];
    let bomb = packed(&[("config.json", b"{}"), ("model.weights.h5", &zeros)]);
    assert!(bomb.len() < 1 << 20);
    let error = check("bomb", &bomb, None, &Limits::default()).unwrap_err().to_string();
    assert!(error.contains("104857600") && error.contains("67108864"), "{error}");

    // The same with a declared size that is a lie: small, just within the limit, and enormous.
    for lie in [100u32, 1 << 18, u32::MAX - 1] {
        let mut bomb = bomb.clone();
        let declared = (zeros.len() as u32).to_le_bytes();
        let places: Vec<_> = (0..bomb.len() - 4).filter(|&at| bomb[at..at + 4] == declared).collect();
        assert!(!places.is_empty());
        places.iter().for_each(|&at| bomb[at..at + 4].copy_from_slice(&lie.to_le_bytes()));
        assert!(matches!(check("lie", &bomb, None, &SMALL), Err(Error::File { .. })));
    }

    let bomb = packed(&[("config.json", &zeros), ("model.weights.h5", b"")]);
    assert!(
        check("config bomb", &bomb, None, &Limits::default())
            .unwrap_err()
            .to_string()
            .contains("config.json")
    );
}

#[test]
fn two_members_of_one_name_are_refused() {
    // The writer refuses to write them, so one is renamed afterwards.
    let config = member("config.json");
    let mut zip = packed(&[("config.json", &config), ("confia.json", b"{}"), ("model.weights.h5", b"")]);
    for at in 0..zip.len() - 11 {
        if &zip[at..at + 11] == b"confia.json" {
            zip[at..at + 11].copy_from_slice(b"config.json");
        }
    }
    let error = check("twice", &zip, None, &SMALL).unwrap_err().to_string();
    assert!(error.contains("same name"), "{error}");
}

#[test]
fn members_that_lie_over_each_other_are_not_copied() {
    const BIG: usize = 100_000;
    let (config, weights) = (member("config.json"), member("model.weights.h5"));
    let mut members =
        vec![("assets/big", vec![7; BIG]), ("config.json", config), ("model.weights.h5", weights)];
    let names: Vec<_> = (100..400).map(|n| format!("assets/{n}")).collect();
    members.extend(names.iter().map(|name| (name.as_str(), Vec::new())));
    let members: Vec<_> = members.iter().map(|(name, contents)| (*name, contents.as_slice())).collect();
    let mut zip = packed(&members);
    // The small ones' entries of the central directory, pointed at the first member, which is at 0.
    for at in 0..zip.len() - 46 {
        if &zip[at..at + 4] == b"PK\x01\x02" && zip[at + 46..].starts_with(b"assets/") {
            zip[at + 20..at + 24].copy_from_slice(&(BIG as u32).to_le_bytes());
            zip[at + 24..at + 28].copy_from_slice(&(BIG as u32).to_le_bytes());
            zip[at + 42..at + 46].fill(0);
        }
    }
    let limits = Limits { always_allowed: 1 << 20, expansion: 1, ..SMALL };
    let read = check("overlapping", &zip, None, &limits);
    let error = read.map(|_| replace_all(&zip, None)).and_then(|replaced| replaced).unwrap_err().to_string();
    assert!(error.contains("larger than the file"), "{error}");
}

#[test]
fn arrays_that_are_not_there_are_refused() {
    // The dimensions of the query kernel, [3, 2, 2], as HDF5 writes them: now, and the most that they may become.
    let file = member("model.weights.h5");
    let dimensions = [3u64, 2, 2].map(u64::to_le_bytes).concat();
    let places: Vec<_> = (0..file.len() - 24).filter(|&at| file[at..at + 24] == dimensions).collect();
    assert!(!places.is_empty());
    let json = config().to_keras_json().to_string();
    for huge in [1u64 << 20, 1 << 34, 1 << 61, u64::MAX] {
        let mut file = file.clone();
        places.iter().for_each(|&at| file[at..at + 8].copy_from_slice(&huge.to_le_bytes()));
        assert!(check("huge", &file, Some(&json), &SMALL).is_err(), "{huge}");
    }
}

/// An HDF5 file of one layer of this width, compressed in chunks of this length.
fn compressed(width: usize, chunk: u64) -> Vec<u8> {
    let mut file = hdf5_pure::FileBuilder::new();
    let mut layer = file.create_group("attn");
    let c = width as u64;
    for (group, shape) in [
        ("_query_dense", [c, 1, 1]),
        ("_key_dense", [c, 1, 1]),
        ("_value_dense", [c, 1, 1]),
        ("_output_dense", [1, 1, c]),
    ] {
        let mut dense = layer.create_group(group);
        let mut vars = dense.create_group("vars");
        let zeros = vec![0f32; width];
        let chunks = shape.map(|n| if n == c { chunk } else { 1 });
        let dataset = vars.create_dataset("0").with_f32_data(&zeros).with_shape(&shape);
        let most = shape.map(|n| if n == c { MaxExtent::Unlimited } else { MaxExtent::Fixed(n) });
        dataset.with_maxshape(&most).with_chunks(&chunks).with_deflate(9);
        dense.add_group(vars.finish());
        layer.add_group(dense.finish());
    }
    file.add_group(layer.finish());
    file.finish().unwrap()
}

#[test]
fn arrays_that_unpack_to_too_much_are_refused() {
    let json = Config { use_bias: false, ..Config::new(1, 1, 1) }.to_keras_json().to_string();
    let small = compressed(1 << 12, 1 << 10);
    assert_eq!(check("compressed", &small, Some(&json), &SMALL), Ok(1));
    let bomb = compressed(1 << 22, 1 << 16);
    assert!(bomb.len() < 1 << 20);
    let error = check("compressed bomb", &bomb, Some(&json), &SMALL).unwrap_err().to_string();
    assert!(error.contains("limit"), "{error}");
    // Few numbers, but each chunk of the file has room for many.
    let loose = compressed(1 << 3, 1 << 22);
    let error = check("chunk bomb", &loose, Some(&json), &SMALL).unwrap_err().to_string();
    assert!(error.contains("limit"), "{error}");
    // Each within the limit, all of them not.
    let several = compressed(1 << 16, 1 << 12);
    let error = check("several", &several, Some(&json), &SMALL).unwrap_err().to_string();
    assert!(error.contains("limit"), "{error}");
    assert_eq!(check("allowed", &several, Some(&json), &Limits::default()), Ok(1));
}

#[test]
fn groups_that_contain_each_other_are_refused() {
    // Every link of the file leads to the root group. An entry of a symbol table is the offset of the name, the address
    // of the object, and a cache of the group's parts.
    let mut file = member("model.weights.h5");
    let root = file[64..96].to_vec();
    let tables: Vec<_> = (0..file.len() - 4).filter(|&at| &file[at..at + 4] == b"SNOD").collect();
    assert!(!tables.is_empty());
    for at in tables {
        let count = usize::from(u16::from_le_bytes([file[at + 6], file[at + 7]]));
        for entry in 0..count {
            let start = at + 8 + 40 * entry + 8;
            file[start..start + 32].copy_from_slice(&root);
        }
    }
    let error = check("maze", &file, None, &SMALL).unwrap_err().to_string();
    assert!(error.contains("deep") || error.contains("more objects"), "{error}");
}

#[test]
fn safetensors_headers_are_not_believed() {
    let with_header = |header: &str, data: &[u8]| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        file
    };
    let entry = |shape: &str, end: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let too_long =
        [(u64::MAX, 16), (1 << 40, 16), (1 << 31, 16), (17, 8)].map(|(length, data): (u64, usize)| {
            let mut file = length.to_le_bytes().to_vec();
            file.extend(b"{");
            file.extend(vec![b' '; data]);
            file
        });
    let mut files = too_long.to_vec();
    files.extend([
        with_header(&entry("[4611686018427387904]", "8"), &[0; 8]),
        with_header(&entry("[18446744073709551615,2]", "8"), &[0; 8]),
        with_header(&entry("[2]", "18446744073709551615"), &[0; 8]),
        with_header(&entry("[3]", "8"), &[0; 8]),
        with_header(&entry("[2]", "8"), &[0; 9]),
        with_header(&entry("[2]", "8"), &[0; 7]),
        with_header(&entry("[-2]", "8"), &[0; 8]),
        with_header(&entry("2", "8"), &[0; 8]),
        with_header(&"[".repeat(50_000), b""),
        with_header(&format!("{}{}", "{\"a\":".repeat(20_000), "}".repeat(20_000)), b""),
        with_header("{\"a\":NaN}", b""),
        with_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", &[0; 4]),
        with_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", &[0; 4]),
    ]);
    for (i, file) in files.iter().enumerate() {
        assert!(matches!(check("header", file, None, &SMALL), Err(Error::File { .. })), "{i}");
        let (result, used) = peak(|| read_tensors(file));
        assert!(matches!(result, Err(Error::File { .. })), "{i}: {result:?}");
        assert!(used < 8 << 20, "{i}: {used}");
    }
    let padded = with_header(&format!("{{}}{}", " ".repeat(SMALL.json_bytes)), b"");
    assert!(check("padded", &padded, None, &SMALL).unwrap_err().to_string().contains("limit"));
    assert!(check("no axis", &with_header(&entry("[0,5]", "0"), b""), None, &SMALL).is_ok());
}

#[test]
fn json_is_bounded() {
    for deep in ["[", "{\"config\":", "{\"class_name\":\"Sequential\",\"config\":{\"layers\":["] {
        let text = format!("{{\"a\":{}", deep.repeat(10_000));
        assert!(matches!(check("deep", text.as_bytes(), None, &SMALL), Err(Error::File { .. })));
        assert!(Config::from_keras_json(&text).is_err());
    }
    // As deep as the parser allows.
    let mut model = String::from("0");
    for _ in 0..40 {
        model =
            format!("{{\"class_name\":\"Sequential\",\"config\":{{\"name\":\"m\",\"layers\":[{model}]}}}}");
    }
    assert_eq!(check("models", model.as_bytes(), None, &SMALL), Ok(0));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(SMALL.json_bytes));
    assert!(check("long", long.as_bytes(), None, &SMALL).unwrap_err().to_string().contains("limit"));
    let many = format!("{{\"a\":[{}0]}}", "0,".repeat(30_000));
    assert_eq!(check("many", many.as_bytes(), None, &SMALL), Ok(0));
    let nan = r#"{"head_dim": NaN, "num_query_heads": 1, "num_key_value_heads": 1}"#;
    assert!(matches!(check("nan", nan.as_bytes(), None, &SMALL), Err(Error::Argument { .. })));
    assert!(matches!(check("text", b"{\"a\":\"\xff\"}", None, &SMALL), Err(Error::File { .. })));
}

#[test]
fn written_tensors_must_be_floats() {
    let array = Array::from_fn([2], |i| i as f32);
    assert!(matches!(write_tensors([("a", &array)], DType::Bool), Err(Error::Argument { .. })));
}
