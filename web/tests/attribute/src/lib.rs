//! `#[test]` in browsers, where nothing can start one test of a program by its name: each becomes an export.

use std::path::Path;

use proc_macro::{Span, TokenStream, TokenTree};

/// Keeps the function and exports it as `test FILE::NAME`, whence `web/tests/device.mjs` calls it.
#[proc_macro_attribute]
pub fn test(_: TokenStream, function: TokenStream) -> TokenStream {
    let words: Vec<_> = function.clone().into_iter().map(|token| token.to_string()).collect();
    let Some(name) = words.windows(2).find_map(|pair| (pair[0] == "fn").then(|| pair[1].clone())) else {
        return "compile_error!(\"a test is a function\");".parse().unwrap_or_default();
    };
    let file = Span::call_site().file();
    let module = Path::new(&file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let export = format!(
        "const _: () = {{
            #[allow(unsafe_code)]
            #[unsafe(export_name = \"test {module}::{name}\")]
            extern \"C\" fn exported() {{
                {name}()
            }}
        }};"
    );
    let export: TokenStream = export.parse().unwrap_or_default();
    // Complaints about the export are told where the test is.
    let export = export.into_iter().map(|mut token: TokenTree| {
        token.set_span(Span::call_site());
        token
    });
    function.into_iter().chain(export).collect()
}
