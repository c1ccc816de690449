//! What browsers compile: WGSL for `web/tests/shaders.mjs`.

use std::collections::BTreeSet;

use serde_json::json;
use wasm_bindgen::prelude::wasm_bindgen;

use super::is_portable;
use crate::gpu::shader::ENTRY;
use crate::gpu::{Binding, Constant, element_constant};
use crate::kernels::{FLOATS, Variant, all};

/// Constants that go with every form and every head.
const FREE: [&str; 4] = ["DROPOUT", "GUARD_NONFINITE", "HAS_BIAS", "GATE"];

/// One variant in so many is compiled to the end, which takes a second; each form is in it.
const COMPILED: usize = 5;

/// Every variant but those with subgroups or cooperative matrices, as JSON. Where there are too many to list, each operand
/// has each type and each flag is on and off in each form.
#[wasm_bindgen]
#[allow(unreachable_pub)]
pub fn shaders() -> String {
    let mut shaders = Vec::new();
    for (kernel, variants) in all() {
        let bindings = kernel.bindings.iter().map(|binding| match binding {
            Binding::Uniform(_) => "uniform",
            Binding::Read(_) => "read-only-storage",
            Binding::Write(_) => "storage",
        });
        let bindings: Vec<_> = bindings.collect();
        let mut seen = BTreeSet::new();
        for (i, listed) in variants.into_iter().enumerate() {
            for (j, constants) in [listed.clone()].into_iter().chain(varied(&listed)).enumerate() {
                let code = kernel.wgsl(&constants).unwrap();
                if !is_portable(&code) {
                    continue;
                }
                let name = format!("{} {constants:?}", kernel.name);
                let compiled = j == 0 && i % COMPILED == 0;
                if seen.insert(name.clone()) || compiled {
                    shaders.push(json!({
                        "name": name,
                        "code": code,
                        "entryPoint": ENTRY,
                        "bindings": bindings,
                        "compiled": compiled,
                    }));
                }
            }
        }
    }
    serde_json::Value::from(shaders).to_string()
}

/// The variant with one constant changed: a type to each, or a flag.
fn varied(variant: &Variant) -> Vec<Variant> {
    let mut all = Vec::new();
    for (i, (name, value)) in variant.iter().enumerate() {
        let others = match value {
            Constant::U32(_) if name.ends_with("_TYPE") => FLOATS.map(element_constant).to_vec(),
            Constant::Bool(on) if FREE.contains(name) => vec![Constant::Bool(!on)],
            _ => Vec::new(),
        };
        for other in others {
            let mut changed = variant.clone();
            changed[i].1 = other;
            all.push(changed);
        }
    }
    all
}
