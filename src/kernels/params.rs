//! Uniform blocks, defined once: `params!` makes the host's struct and the same struct in WGSL.

use std::fmt::Write as _;

/// The type of a field of a uniform block.
pub(crate) trait Uniform {
    /// Its type in WGSL.
    fn name() -> String;

    /// The structs that its type needs, in WGSL.
    fn declaration() -> String {
        String::new()
    }
}

impl Uniform for u32 {
    fn name() -> String {
        "u32".into()
    }
}

impl Uniform for f32 {
    fn name() -> String {
        "f32".into()
    }
}

/// Arrays are of vectors of four, because WGSL aligns the elements of a uniform array to 16 bytes.
impl<const N: usize> Uniform for [u32; N] {
    fn name() -> String {
        format!("array<vec4<u32>, {}>", N / 4)
    }
}

/// WGSL of a struct with these fields (name, type, the structs that the type needs) and this many words of padding.
pub(crate) fn declare(name: &str, fields: &[(&str, String, String)], padding: usize) -> String {
    let mut text: String = fields.iter().map(|(_, _, needed)| needed.as_str()).collect();
    let _ = writeln!(text, "struct {name} {{");
    for (field, type_name, _) in fields {
        let _ = writeln!(text, "    {field}: {type_name},");
    }
    for word in 0..padding {
        let _ = writeln!(text, "    padding{word}: u32,");
    }
    text + "}\n"
}

/// WGSL of a kernel's uniform binding, which is binding 0.
pub(crate) fn wgsl<P: Uniform>() -> String {
    format!("{}@group(0) @binding(0) var<uniform> params: {};\n", P::declaration(), P::name())
}

/// Defines a uniform block: fields of `u32`, `f32`, arrays of whole vectors of four `u32`, and other blocks. A block used as a
/// field of another ends with `; padding N`, the words that pad it to whole vectors.
macro_rules! params {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_visibility:vis $field:ident: $type:ty),* $(,)?
        $(; padding $padding:literal)?
    }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
        $visibility struct $name {
            $($(#[$field_meta])* $field_visibility $field: $type,)*
            $(padding: [u32; $padding],)?
        }

        impl $crate::kernels::params::Uniform for $name {
            fn name() -> String {
                stringify!($name).into()
            }

            fn declaration() -> String {
                use $crate::kernels::params::{Uniform, declare};
                let fields = [
                    $((stringify!($field), <$type as Uniform>::name(), <$type as Uniform>::declaration())),*
                ];
                declare(stringify!($name), &fields, 0 $(+ $padding)?)
            }
        }
    };
}

pub(crate) use params;
