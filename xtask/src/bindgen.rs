//! What `cargo xtask web` starts as `xtask-bindgen MODULE.wasm FOLDER`: wasm-bindgen, without its command.
//!
//! As `xtask-bindgen --tests FOLDER MODULE.wasm` it is what cargo starts where it would run a program of tests.
//!
//! A program of its own, because it takes a minute to compile, and no other chore has to wait for that.

use std::path::Path;
use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (module, folder, is_tests) = match args[..] {
        ["--tests", folder, module] => (module, folder, true),
        [module, folder] => (module, folder, false),
        _ => {
            eprintln!(
                "Usage: xtask-bindgen MODULE.wasm FOLDER\n       xtask-bindgen --tests FOLDER MODULE.wasm"
            );
            return ExitCode::from(2);
        }
    };
    // The package declares its own types: those of the glue would declare what is not offered.
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).typescript(false);
    // Without being told otherwise, the glue finds the module beside itself.
    bindgen.omit_default_module_path(false);
    if is_tests {
        // Without the hash that cargo gave it, and without starting what would look for arguments.
        let stem = Path::new(module).file_stem().unwrap_or_default().to_string_lossy();
        bindgen.out_name(stem.rsplit_once('-').map_or(&stem, |(name, _)| name)).emit_start(false);
    }
    let made = bindgen.web(true).and_then(|bindgen| bindgen.generate(folder));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasm-bindgen: {error:?}");
            ExitCode::FAILURE
        }
    }
}
