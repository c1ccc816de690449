//! The conformance set.

use gqa::conformance::checks;
use js_sys::Promise;
use serde_json::json;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{argument, promise, to_js};
use crate::gpu::Gpu;

/// Group and name of each check, as JSON.
#[wasm_bindgen(js_name = listChecks)]
pub fn list_checks() -> String {
    let names: Vec<_> =
        checks().iter().map(|check| json!({ "group": check.group, "name": check.name })).collect();
    json!(names).to_string()
}

/// Runs one check of the list: error, tolerance and whether it passed, as JSON. A NaN is `null` there.
#[wasm_bindgen(js_name = runCheck)]
pub fn run_check(gpu: &Gpu, index: usize) -> Result<Promise, JsValue> {
    let gpu = gpu.0.clone();
    let mut checks = checks();
    if index >= checks.len() {
        return Err(argument("index", &format!("below {}", checks.len()), &index.to_string()));
    }
    let check = checks.swap_remove(index);
    Ok(promise(async move {
        let outcome = check.run(&gpu).await.map_err(to_js)?;
        let told =
            json!({ "error": outcome.error, "tolerance": outcome.tolerance, "passed": outcome.passed() });
        Ok(told.to_string())
    }))
}
