//! `cargo xtask wgsl`: the expanded WGSL of kernels. The library's unit tests have it, since no build of the library needs it:
//! an ignored test of theirs is told what is wanted by environment variables, and writes the answer to a file.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::{cargo, target_dir};

pub(crate) const USAGE: &str = "\
Usage: cargo xtask wgsl                         the kernels and their forms
       cargo xtask wgsl KERNEL [FORM] [OPTION]  the WGSL of one variant; FORM can be a part that no other name has
       cargo xtask wgsl --dump FOLDER [OPTION]  every form of the heavy kernels, a file each

  --head-dim N       the width of heads (64; in a dump 64 and 128)
  --types T[,T…]     f32, f16 or bf16: one for all operands, or one for each (f32; in a dump f32 and f16)
  --role ROLE        of attention_backward: queries or keys (queries; in a dump both)
  --matrix RxL       of cooperative matrices: rows, and lanes of a subgroup (16x32)
  --dropout, --guard-nonfinite, --bias, --gate
                     with that
  --set NAME=VALUE   any other constant of the variant, whether it makes sense or not; can be repeated

The first line names the kinds of the bindings in order (u uniform, r read-only, w writable), the second the kernel, its form
and its constants.";

/// Options of one argument, and what the test calls them.
const OPTIONS: [(&str, &str); 6] = [
    ("--head-dim", "HEAD_DIM"),
    ("--types", "TYPES"),
    ("--role", "ROLE"),
    ("--matrix", "MATRIX"),
    ("--set", "SET"),
    ("--dump", "DUMP"),
];

/// Constants that have an option of their own.
const FLAGS: [(&str, &str); 4] = [
    ("--dropout", "DROPOUT"),
    ("--guard-nonfinite", "GUARD_NONFINITE"),
    ("--bias", "HAS_BIAS"),
    ("--gate", "GATE"),
];

/// What a dump has all of.
const NOT_IN_A_DUMP: [&str; 5] = ["KERNEL", "FORM", "HEAD_DIM", "TYPES", "ROLE"];

/// What is wanted, by the names that the test has for it.
type Wanted = Vec<(&'static str, String)>;

pub(crate) fn run(args: &[&str]) -> ExitCode {
    if matches!(args, ["help" | "--help" | "-h"]) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let wanted = match parse(args) {
        Ok(wanted) => wanted,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match answer(wanted) {
        Ok(text) => {
            // Whoever reads may stop early.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[&str]) -> Result<Wanted, String> {
    let (mut wanted, mut names): (Wanted, Vec<&str>) = (Vec::new(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (option, inline) = match arg.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (*arg, None),
        };
        let flag = FLAGS.iter().find(|(known, _)| known == arg);
        let known = OPTIONS.iter().find(|(known, _)| *known == option);
        match (flag, known) {
            (Some((_, constant)), _) => add(&mut wanted, "SET", &format!("{constant}=true"))?,
            (None, Some((_, name))) => {
                let value = inline.or_else(|| args.next().copied()).filter(|value| !value.is_empty());
                add(&mut wanted, name, value.ok_or_else(|| format!("{option} takes a value"))?)?;
            }
            (None, None) if arg.starts_with('-') => return Err(format!("unknown option {arg}")),
            (None, None) => names.push(arg),
        }
    }
    if let [kernel, form @ ..] = names.as_slice() {
        add(&mut wanted, "KERNEL", kernel)?;
        if !form.is_empty() {
            add(&mut wanted, "FORM", &form.join(" "))?;
        }
    } else if !has(&wanted, "DUMP") && !wanted.is_empty() {
        return Err("options need a kernel".into());
    }
    match NOT_IN_A_DUMP.iter().find(|name| has(&wanted, name)) {
        Some(name) if has(&wanted, "DUMP") => {
            let option =
                OPTIONS.iter().find(|(_, known)| known == name).map_or("a kernel", |(option, _)| option);
            Err(format!("--dump writes all of them: it does not go with {option}"))
        }
        _ => Ok(wanted),
    }
}

fn has(wanted: &Wanted, name: &str) -> bool {
    wanted.iter().any(|(known, _)| *known == name)
}

/// Adds a value; constants to those that are set already.
fn add(wanted: &mut Wanted, name: &'static str, value: &str) -> Result<(), String> {
    match wanted.iter_mut().find(|(known, _)| *known == name) {
        Some((_, all)) if name == "SET" => *all = format!("{all},{value}"),
        Some(_) => {
            let option = OPTIONS.iter().find(|(_, known)| *known == name).map_or(name, |(option, _)| option);
            return Err(format!("{option} is given twice"));
        }
        None => wanted.push((name, value.into())),
    }
    Ok(())
}

/// Runs the test, built with the features of all other tests, and gives what it writes.
fn answer(wanted: Wanted) -> Result<String, String> {
    let folder = target_dir().join("xtask-wgsl").join(std::process::id().to_string());
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut test = cargo(["test", "--quiet", "--workspace", "--lib", "--", "--ignored", "--exact"]);
    test.arg("kernels::tests::dump::writes_what_is_wanted").env("GQA_WGSL_ANSWER", &folder);
    for (name, value) in wanted {
        // The test runs in a folder of its own.
        let path = || std::path::absolute(&value).unwrap_or_else(|_| PathBuf::from(&value));
        match name {
            "DUMP" => test.env("GQA_WGSL_DUMP", path()),
            _ => test.env(format!("GQA_WGSL_{name}"), &value),
        };
    }
    let output = test.output().map_err(|error| format!("cargo could not be started: {error}"));
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let (text, error) = (read("text"), read("error"));
    let _ = fs::remove_dir_all(&folder);
    let output = output?;
    match (text, error) {
        (Some(text), _) => Ok(text),
        (None, Some(error)) => Err(error),
        (None, None) => {
            let said = [output.stderr, output.stdout].map(|said| String::from_utf8_lossy(&said).into_owned());
            Err(format!("the unit tests of the library did not run:\n{}", said.concat().trim()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wanted, String> {
        parse(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_become_what_the_test_is_told() {
        for (line, expected) in [
            ("", vec![]),
            ("linear", vec![("KERNEL", "linear")]),
            (
                "attention_forward direct 1x8 lanes of 4x8, keys split for 8 workgroups --head-dim 96",
                vec![
                    ("HEAD_DIM", "96"),
                    ("KERNEL", "attention_forward"),
                    ("FORM", "direct 1x8 lanes of 4x8, keys split for 8 workgroups"),
                ],
            ),
            (
                "--bias linear --types=f16,f32 --set ROWS=3 --gate",
                vec![("SET", "HAS_BIAS=true,ROWS=3,GATE=true"), ("TYPES", "f16,f32"), ("KERNEL", "linear")],
            ),
            (
                "--dump out --matrix 8x32 --dropout",
                vec![("DUMP", "out"), ("MATRIX", "8x32"), ("SET", "DROPOUT=true")],
            ),
        ] {
            let expected: Wanted = expected.into_iter().map(|(name, value)| (name, value.into())).collect();
            assert_eq!(parsed(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, expected) in [
            ("linear --width 3", "unknown option --width"),
            ("linear --head-dim", "--head-dim takes a value"),
            ("linear --types=", "--types takes a value"),
            ("linear --role keys --role queries", "--role is given twice"),
            ("--dump out linear", "--dump writes all of them: it does not go with a kernel"),
            ("--dump out --types f16", "--dump writes all of them: it does not go with --types"),
            ("--types f16", "options need a kernel"),
        ] {
            assert_eq!(parsed(line), Err(expected.into()), "{line}");
        }
    }
}
