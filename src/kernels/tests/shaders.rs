//! What browsers compile: the WGSL of every variant, for `web/tests/shaders.mjs`.

use serde_json::json;
use wasm_bindgen::prelude::wasm_bindgen;

use super::super::all;
use crate::gpu::Binding;
use crate::gpu::kernel::ENTRY;

/// All but those in matrix units, which browsers don't have, as JSON.
#[wasm_bindgen]
#[allow(unreachable_pub)]
pub fn shaders() -> String {
    let mut shaders = Vec::new();
    for (kernel, variants) in all().into_iter().filter(|(kernel, _)| !kernel.name.ends_with("_matrix")) {
        let bindings = kernel.bindings.iter().map(|binding| match binding {
            Binding::Uniform(_) => "uniform",
            Binding::Read(_) => "read-only-storage",
            Binding::Write(_) => "storage",
        });
        let bindings: Vec<_> = bindings.collect();
        for constants in variants {
            shaders.push(json!({
                "name": format!("{} {constants:?}", kernel.name),
                "code": kernel.wgsl(&constants),
                "entryPoint": ENTRY,
                "bindings": bindings,
            }));
        }
    }
    serde_json::Value::from(shaders).to_string()
}
