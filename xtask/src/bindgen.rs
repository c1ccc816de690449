//! What `cargo xtask web` starts as `xtask-bindgen MODULE.wasm FOLDER`: wasm-bindgen, without its command.
//!
//! A program of its own, because it takes a minute to compile, and no other chore has to wait for that.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, folder] = &args[..] else {
        eprintln!("Usage: xtask-bindgen MODULE.wasm FOLDER");
        return ExitCode::from(2);
    };
    // The package declares its own types: those of the glue would declare what is not offered.
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).typescript(false);
    // Without being told otherwise, the glue finds the module beside itself.
    bindgen.omit_default_module_path(false);
    let made = bindgen.web(true).and_then(|bindgen| bindgen.generate(folder));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasm-bindgen: {error:?}");
            ExitCode::FAILURE
        }
    }
}
