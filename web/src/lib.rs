//! The library in browsers, for `package/index.js`, which gives it the form that `package/index.d.ts` promises.
//!
//! What is exported here is plain: bytes, numbers, strings of JSON, handles. Every failure is a JavaScript error with a
//! `code` ([`error`]); what takes time is a promise. A future owns all that it needs, so a handle may be freed at any time.
#![cfg(target_arch = "wasm32")]

mod attention;
mod bench;
mod call;
mod check;
mod error;
mod gpu;
mod layer;
mod model;
mod optimizer;
mod tensor;

/// The version of the package.
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}
