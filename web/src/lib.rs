//! The library in browsers, for `package/index.js`, which gives it the form that `package/index.d.ts` promises.
//!
//! What is exported here is plain: bytes, numbers, strings of JSON, handles. Every failure is a JavaScript error with a
//! `code` (in `error`); what takes time is a promise. A future owns all that it needs, so a handle may be freed at any time.
#![cfg(target_arch = "wasm32")]
// `index.js` lets the calls of one layer run one after the other, so none finds it borrowed.
#![allow(clippy::await_holding_refcell_ref)]
// What `wasm_bindgen` exports has to be public wherever it stands.
#![allow(unreachable_pub)]

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
