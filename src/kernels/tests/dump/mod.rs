//! The expanded WGSL of kernels, for `cargo xtask wgsl`: it runs the ignored test, and environment variables tell what is
//! wanted (`xtask/src/wgsl.rs`).

mod variant;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use variant::{Expanded, Wanted, forms_of, kernels};

use crate::DType;
use crate::gpu::MatrixConfig;
use crate::kernels::FLOATS;
use crate::kernels::attention::backward::Role;

/// The kernels of a dump: those whose work grows with the product of two lengths, and what split keys need.
const HEAVY: [&str; 8] = [
    "linear",
    "attention_forward",
    "combine_splits",
    "attention_backward",
    "scores",
    "softmax",
    "dropout",
    "weighted_values",
];

/// The widths of heads in a dump.
const HEAD_DIMS: [usize; 2] = [64, 128];

/// Writes to the file `text` of the folder `GQA_WGSL_ANSWER` what is wanted, or to the file `error` why it can't be had.
#[test]
#[ignore = "`cargo xtask wgsl` runs it"]
fn writes_what_is_wanted() {
    let answer = PathBuf::from(wanted_as("ANSWER").expect("`cargo xtask wgsl` tells where to write"));
    match answered() {
        Ok(text) => fs::write(answer.join("text"), text).unwrap(),
        Err(message) => fs::write(answer.join("error"), message).unwrap(),
    }
}

fn wanted_as(name: &str) -> Option<String> {
    std::env::var(format!("GQA_WGSL_{name}")).ok().filter(|value| !value.is_empty())
}

fn answered() -> Result<String, String> {
    let wanted = wanted(wanted_as)?;
    match (wanted_as("DUMP"), wanted.kernel.is_empty()) {
        (Some(folder), _) => write_all(Path::new(&folder), &wanted),
        (None, true) => Ok(list()),
        (None, false) => wanted.expand()?.text(),
    }
}

/// What the values of these names say.
fn wanted(value: impl Fn(&str) -> Option<String>) -> Result<Wanted, String> {
    let defaults = Wanted::default();
    let dtype = |name: &str| {
        let known = FLOATS.into_iter().find(|dtype| dtype.name() == name);
        known.ok_or_else(|| format!("no type is called {name}; there are f32, f16, bf16"))
    };
    let split = |name: &str| -> Vec<String> {
        value(name).map(|all| all.split(',').map(String::from).collect()).unwrap_or_default()
    };
    let assignment = |text: &String| {
        let split = text.split_once('=');
        split
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .ok_or("a constant is set as NAME=VALUE")
    };
    Ok(Wanted {
        kernel: value("KERNEL").unwrap_or_default(),
        form: value("FORM"),
        head_dim: match value("HEAD_DIM") {
            Some(width) => Some(width.parse().map_err(|_| format!("{width} is no width of heads"))?),
            None => None,
        },
        types: split("TYPES").iter().map(|name| dtype(name)).collect::<Result<_, _>>()?,
        role: match value("ROLE").as_deref() {
            None => None,
            Some("queries") => Some(Role::Queries),
            Some("keys") => Some(Role::Keys),
            Some(other) => return Err(format!("no role is called {other}; there are queries and keys")),
        },
        matrix: match value("MATRIX").as_deref() {
            None => defaults.matrix,
            Some(sizes) => {
                matrix(sizes).ok_or("cooperative matrices are given as 16x32 or 8x32: rows, lanes")?
            }
        },
        set: split("SET").iter().map(assignment).collect::<Result<_, _>>()?,
    })
}

fn matrix(sizes: &str) -> Option<MatrixConfig> {
    let (size, lanes) = sizes.split_once('x')?;
    let (size, subgroup) = (size.parse().ok()?, lanes.parse().ok()?);
    let is_known = matches!(size, 8 | 16) && matches!(subgroup, 8 | 16 | 32 | 64);
    is_known.then_some(MatrixConfig { size, subgroup, ..Wanted::default().matrix })
}

/// A line for each kernel, and one for each of its forms.
fn list() -> String {
    let mut text = String::new();
    for kernel in kernels() {
        let _ = writeln!(text, "{kernel}");
        for form in forms_of(kernel) {
            let _ = writeln!(text, "    {form}");
        }
    }
    text
}

/// A variant of a dump: the stem of its file, and what to expand.
struct Dumped {
    stem: String,
    wanted: Wanted,
}

/// Every form of every heavy kernel: with each width of heads, in each role, with operands of f32 and of f16.
fn heavy(like: &Wanted) -> Vec<Dumped> {
    let mut all = Vec::new();
    for kernel in HEAVY {
        let forms = match forms_of(kernel) {
            forms if forms.is_empty() => vec![None],
            forms => forms.into_iter().map(Some).collect(),
        };
        for form in forms {
            for head_dim in
                if kernel.starts_with("attention") { HEAD_DIMS.map(Some).to_vec() } else { vec![None] }
            {
                for role in
                    if kernel == "attention_backward" { Role::ALL.map(Some).to_vec() } else { vec![None] }
                {
                    for types in types_of(kernel, form) {
                        let name = |role: Role| if role == Role::Keys { "keys" } else { "queries" };
                        let words = [
                            Some(kernel.to_string()),
                            form.map(String::from),
                            role.map(|role| name(role).to_string()),
                            head_dim.map(|width| format!("d{width}")),
                            (!types.is_empty()).then(|| {
                                types.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join("-")
                            }),
                        ];
                        let stem = words.into_iter().flatten().collect::<Vec<_>>().join(".");
                        let stem = stem.replace(", ", "-").replace(' ', "-");
                        let (kernel, form) = (kernel.to_string(), form.map(String::from));
                        let wanted = Wanted { kernel, form, head_dim, types, role, ..like.clone() };
                        all.push(Dumped { stem, wanted });
                    }
                }
            }
        }
    }
    all
}

/// The types of a kernel's operands in a dump, where it has any to choose.
fn types_of(kernel: &str, form: Option<&str>) -> Vec<Vec<DType>> {
    let is_matrix = form.is_some_and(|form| form.starts_with("matrix"));
    match kernel {
        // Projections on cooperative matrices take weights of f16 alone.
        "linear" if is_matrix => vec![vec![DType::F32, DType::F16], vec![DType::F16]],
        "linear" | "attention_forward" | "scores" | "weighted_values" => {
            vec![vec![DType::F32], vec![DType::F16]]
        }
        _ => vec![Vec::new()],
    }
}

/// Writes the dump, with the constants that are set wherever a kernel has them.
fn write_all(folder: &Path, like: &Wanted) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let plain = heavy(&Wanted { set: Vec::new(), ..like.clone() });
    let known = |name: &str| {
        let mut variants = plain.iter().filter_map(|dumped| dumped.wanted.expand().ok());
        variants.any(|variant| variant.constants.iter().any(|(known, _)| *known == name))
    };
    if let Some((name, _)) = like.set.iter().find(|(name, _)| !known(name)) {
        return Err(format!("no kernel of a dump has a constant {name}"));
    }
    fs::create_dir_all(folder).map_err(failed)?;
    let (mut written, mut left_out) = (0, std::collections::BTreeSet::new());
    for Dumped { stem, wanted } in heavy(like) {
        match expanded(&wanted) {
            Ok(variant) => {
                fs::write(folder.join(format!("{stem}.wgsl")), variant.text()?).map_err(failed)?;
                written += 1;
            }
            Err(reason) => left_out.extend([format!("left out: {reason}\n")]),
        }
    }
    let left_out: String = left_out.into_iter().collect();
    Ok(format!("{left_out}{written} files in {}\n", folder.display()))
}

/// The variant, with those constants set that it has.
fn expanded(wanted: &Wanted) -> Result<Expanded, String> {
    let plain = Wanted { set: Vec::new(), ..wanted.clone() }.expand()?;
    let has = |(name, _): &&(String, String)| plain.constants.iter().any(|(known, _)| known == name);
    Wanted { set: wanted.set.iter().filter(has).cloned().collect(), ..wanted.clone() }.expand()
}

/// The kinds of a module's bindings, as the first line of a dumped file has them.
fn kinds(text: &str) -> String {
    let module =
        naga::front::wgsl::parse_str(text).unwrap_or_else(|error| panic!("{}", error.emit_to_string(text)));
    let bound = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| Some((variable.binding?.binding, variable.space)));
    let mut bound: Vec<_> = bound.collect();
    bound.sort_by_key(|(index, _)| *index);
    let kind = |(_, space)| match space {
        naga::AddressSpace::Uniform => 'u',
        naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => 'w',
        _ => 'r',
    };
    bound.into_iter().map(kind).collect()
}

#[test]
fn a_dump_has_every_form_below_a_line_with_its_bindings() {
    let smaller = Wanted { matrix: matrix("8x32").unwrap(), ..Wanted::default() };
    let mut stems = std::collections::BTreeSet::new();
    let mut dumped = String::new();
    for like in [Wanted::default(), smaller] {
        let is_default = like.matrix == Wanted::default().matrix;
        for Dumped { stem, wanted } in heavy(&like) {
            let variant = match wanted.expand() {
                Ok(variant) => variant,
                Err(reason) => {
                    assert!(reason.contains("does not take heads of"), "{reason}");
                    continue;
                }
            };
            let text = variant.text().unwrap();
            let mut lines = text.lines();
            let (first, second) = (lines.next().unwrap(), lines.next().unwrap());
            assert!(second.starts_with(&format!("// {}", variant.kernel.name)), "{second}");
            if is_default {
                assert!(stems.insert(stem.clone()), "{stem} twice");
                assert_eq!(first, format!("// bindings {}", kinds(&text)), "{stem}");
            }
            let _ = writeln!(dumped, "{}{second}", wanted.kernel);
        }
    }
    for kernel in HEAVY {
        for form in forms_of(kernel) {
            let has =
                |line: &str| line.starts_with(kernel) && line.contains(&format!(" in the form `{form}`:"));
            assert!(dumped.lines().any(has), "no variant of {kernel} in the form `{form}`");
        }
        assert!(dumped.lines().any(|line| line.starts_with(kernel)), "no {kernel}");
    }
    assert!(stems.len() > 100, "only {}", stems.len());
}

#[test]
fn every_kernel_of_the_list_can_be_expanded_by_its_name_alone() {
    for kernel in kernels() {
        let wanted = Wanted { kernel: kernel.to_string(), ..Wanted::default() };
        assert!(wanted.expand().unwrap().text().unwrap().contains("@compute"), "{kernel}");
        assert!(list().lines().any(|line| line == kernel));
    }
}

#[test]
fn what_is_wanted_is_read_by_name_and_what_is_unknown_is_named() {
    let ask = |values: &[(&str, &str)]| {
        let value =
            |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        wanted(value)?.expand()?.text()
    };
    let forward = ask(&[
        ("KERNEL", "attention_forward"),
        ("FORM", "staged 8x8 lanes of 8x4"),
        ("HEAD_DIM", "96"),
        ("TYPES", "f16,f32,bf16"),
        ("SET", "DROPOUT=true"),
    ]);
    let forward = forward.unwrap();
    for line in [
        "HEAD_DIM: u32 = 96u",
        "Q_TYPE: u32 = 1u",
        "K_TYPE: u32 = 0u",
        "V_TYPE: u32 = 2u",
        "DROPOUT: bool = true",
    ] {
        assert!(forward.contains(&format!("const {line};\n")), "{line}");
    }
    let keys = ask(&[("KERNEL", "attention_backward"), ("ROLE", "keys")]).unwrap();
    assert!(keys.contains("const KEYS: bool = true;\n") && keys.contains("const RESULT_y: bool = true;\n"));
    // A part of a name that no other has.
    let matrix = ask(&[("KERNEL", "linear"), ("FORM", "1x4 parts"), ("MATRIX", "8x32")]).unwrap();
    assert!(
        matrix.contains("coop_mat8x8<f16, A>")
            && matrix.contains("// linear_matrix in the form `matrix 1x4 parts")
    );
    assert!(ask(&[("KERNEL", "cast"), ("TYPES", "f16,bf16")]).unwrap().contains("X_TYPE=1, Y_TYPE=2"));
    for (values, expected) in [
        (vec![("KERNEL", "conv")], "no kernel is called conv; there are linear, attention_forward,"),
        (vec![("KERNEL", "linear_matrix")], "no kernel is called linear_matrix"),
        (
            vec![("KERNEL", "linear"), ("FORM", "8x8")],
            "linear has no one form called `8x8`; there are\n    direct 1x8",
        ),
        (vec![("KERNEL", "linear"), ("HEAD_DIM", "64")], "linear is the same for heads of any width"),
        (vec![("KERNEL", "linear"), ("TYPES", "f32,f16,f16")], "linear takes one type, or 2 for x, w, not 3"),
        (vec![("KERNEL", "linear"), ("TYPES", "f64")], "no type is called f64; there are f32, f16, bf16"),
        (
            vec![("KERNEL", "attention_forward"), ("HEAD_DIM", "300")],
            "no form of attention_forward takes heads of 300",
        ),
        (
            vec![("KERNEL", "attention_forward"), ("FORM", "direct 1x8 lanes of 16x8"), ("HEAD_DIM", "128")],
            "attention_forward in the form `direct 1x8 lanes of 16x8` does not take heads of 128",
        ),
        (
            vec![("KERNEL", "attention_backward"), ("TYPES", "f16")],
            "attention_backward has no operands of a type to choose",
        ),
        (vec![("KERNEL", "scores"), ("ROLE", "keys")], "scores has no roles; attention_backward has"),
        (vec![("KERNEL", "gate"), ("FORM", "x")], "gate has no forms"),
        (vec![("KERNEL", "sgd"), ("SET", "GATE=true")], "sgd has no constant GATE; it has ["),
        (vec![("KERNEL", "linear"), ("SET", "ROWS=true")], "ROWS: expected a u32, got true"),
        (vec![("KERNEL", "linear"), ("SET", "GATE=2")], "GATE: expected true or false, got 2"),
        (vec![("KERNEL", "linear"), ("MATRIX", "4x32")], "cooperative matrices are given as 16x32 or 8x32"),
    ] {
        let message = ask(&values).unwrap_err();
        assert!(message.starts_with(expected), "{values:?}: {message}");
    }
}
