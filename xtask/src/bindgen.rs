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
    let made = Bindgen::new().input_path(module).typescript(false).web(true).and_then(|b| b.generate(folder));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasm-bindgen: {error:?}");
            ExitCode::FAILURE
        }
    }
}
