//! Errors of the library as errors of JavaScript, and futures as promises.

use std::future::Future;

use gqa::Error;
use js_sys::{Promise, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::future_to_promise;

/// An `Error` with this `code`, one of `GqaErrorCode`.
pub(crate) fn coded(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    // Setting a property of a fresh object can't fail.
    let _ = Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

pub(crate) fn to_js(error: Error) -> JsValue {
    let code = match &error {
        Error::Argument { .. } => "argument",
        Error::TooLarge { .. } => "too-large",
        Error::NoAdapter { .. } | Error::AdapterNotFound { .. } => "no-adapter",
        Error::Device { .. } => "device",
        Error::DeviceLost { .. } => "device-lost",
        Error::OutOfMemory { .. } => "out-of-memory",
        Error::Gpu { .. } => "gpu",
        Error::File { .. } => "file",
        Error::LayerNotFound { .. } => "layer-not-found",
        Error::AmbiguousLayer { .. } => "ambiguous-layer",
        Error::MissingTensor { .. } => "missing-tensor",
        Error::UnknownTensor { .. } => "unknown-tensor",
        _ => "internal",
    };
    coded(code, &error.to_string())
}

/// An argument that is wrong.
pub(crate) fn argument(argument: &str, expected: &str, got: &str) -> JsValue {
    coded("argument", &format!("`{argument}` must be {expected}, but got {got}"))
}

/// The work as a promise.
pub(crate) fn promise<T: Into<JsValue>>(work: impl Future<Output = Result<T, JsValue>> + 'static) -> Promise {
    future_to_promise(async move { work.await.map(Into::into) })
}
