//! The library's source looks for `shaders/` beside its own manifest.

fn main() {
    println!("cargo::rustc-env=CARGO_MANIFEST_DIR={}/../..", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
}
