//! Training terms against references, against finite differences and against Keras.

// Reads files.
#[cfg(not(target_arch = "wasm32"))]
mod keras;
mod optimizer;
mod terms;
