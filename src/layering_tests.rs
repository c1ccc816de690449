//! What may depend on what: no file names a module of a floor above its own.

use std::fs;
use std::path::Path;

/// The modules of the library, lowest floor first. Those of one floor may name each other, but for [`STRANGERS`].
const FLOORS: [&[&str]; 9] = [
    &[
        "array",
        "config",
        "dropout",
        "dtype",
        "elements",
        "error",
        "files",
        "initializers",
        "named_tensor",
        "safetensors",
        "shaders",
        "shapes",
        "terms",
        "weights",
    ],
    &["reference"],
    &["arguments", "gpu"],
    &["tuning"],
    &["kernels"],
    &["attention"],
    &["training"],
    &["layer"],
    &["bench", "conformance"],
];

/// Names values alone, and is named by nobody.
const KERAS: &str = "keras";

/// The oracle and the device: neither names the other.
const STRANGERS: [&str; 2] = ["reference", "gpu"];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn may_name(module: &str, named: &str) -> bool {
    match (floor(module), floor(named)) {
        _ if module == named => true,
        _ if STRANGERS.contains(&module) && STRANGERS.contains(&named) => false,
        (Some(own), Some(other)) => other <= own,
        (None, Some(other)) => module == KERAS && other == 0,
        (_, None) => false,
    }
}

/// The code of a file without comments and without its own unit tests, which are its end.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.lines().take_while(|line| *line != "mod tests {");
    code.map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The names behind each `crate::`: one, or those of a group.
fn named(code: &str) -> Vec<&str> {
    let mut all = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            all.extend(words(rest).next());
            continue;
        };
        let (mut depth, mut begin) = (1, 0);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && c == ',') {
                all.extend(words(&group[begin..i]).next());
                begin = i + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    all
}

/// The files below a folder that are no tests.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        match stem {
            "tests" | "testing" => {}
            _ if stem.ends_with("_tests") => {}
            _ if path.is_dir() => files(&path, found),
            _ => found.push(path),
        }
    }
}

/// Names at the root of the crate that `pub use` takes from a module.
fn reexports(root: &str) -> Vec<(&str, &str)> {
    let statements = root.split(';').filter_map(|statement| statement.trim().strip_prefix("pub use "));
    let parts = statements.filter_map(|statement| statement.split_once("::"));
    parts.flat_map(|(module, names)| words(names).map(move |name| (name, module))).collect()
}

#[test]
fn no_file_names_a_module_of_a_higher_floor() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (root, mut all, mut wrong) = (code(&src.join("lib.rs")), Vec::new(), Vec::new());
    let reexports = reexports(&root);
    files(&src, &mut all);
    let mut count = 0;
    for file in all.iter().filter(|file| **file != src.join("lib.rs")) {
        let below = file.strip_prefix(&src).unwrap().with_extension("");
        let path: Vec<_> =
            below.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod").collect();
        let (module, code) = (path[0], code(file));
        assert!(module == KERAS || floor(module).is_some(), "{module} has no floor");
        // Paths from the root of the crate are written `crate::`.
        assert!(!code.contains(&"super::".repeat(path.len())), "{} goes up to the root", file.display());
        for name in named(&code) {
            let named = reexports.iter().find(|(known, _)| *known == name).map_or(name, |(_, module)| module);
            if !may_name(module, named) {
                wrong.push(format!("{} names {named} ({name})", below.display()));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 300, "only {count} names were found");
}

#[test]
fn names_are_found_and_judged() {
    let found = named(
        "use crate::{Array, gpu::{self, Gpu},\n kernels};\n fn f(x: crate::DType) { crate::shapes::g() }",
    );
    assert_eq!(found, ["Array", "gpu", "kernels", "DType", "shapes"]);
    let root = "pub use array::Array;\npub use gpu::{\n Gpu, Tensor,\n};\npub use kernels::forms::forms;\npub use wgpu;";
    let known = reexports(root);
    for (name, module) in [("Array", "array"), ("Tensor", "gpu"), ("forms", "kernels")] {
        assert!(known.contains(&(name, module)), "{name}");
    }
    for (module, named, may) in [
        ("gpu", "gpu", true),
        ("gpu", "array", true),
        ("weights", "gpu", false),
        ("gpu", "reference", false),
        ("reference", "gpu", false),
        ("layer", "reference", true),
        ("kernels", "attention", false),
        ("keras", "config", true),
        ("keras", "layer", false),
        ("training", "keras", false),
        ("layer", "nothing", false),
    ] {
        assert_eq!(may_name(module, named), may, "{module} {named}");
    }
}
