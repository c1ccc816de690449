//! WGSL of the buffers that kernels read and write four elements at a time.
//!
//! An operand `x` defines `x_quad(at, count)`: the elements `at` to `at + 3`, with zeros past `count ≥ 1`. Aligned operands
//! are read only in whole quads at multiples of 4, each loaded as one vector.

use super::{Constant, Constants};
use crate::DType;

/// The number of an element type in `shaders/shared/elements.wgsl`.
pub(crate) fn element_constant(dtype: DType) -> Constant {
    Constant::U32(match dtype {
        DType::F32 | DType::Bool => 0,
        DType::F16 => 1,
        DType::Bf16 => 2,
    })
}

/// Whether the constant of this name is `true`.
pub(crate) fn is_on(name: &str, constants: &Constants) -> bool {
    constants.iter().any(|(known, value)| *known == name && *value == Constant::Bool(true))
}

/// Declares a buffer that is read as the element type in the constant `type_name`.
pub(crate) fn operand(
    name: &str,
    binding: u32,
    type_name: &str,
    aligned: bool,
    constants: &Constants,
) -> String {
    let number = constants.iter().find(|(known, _)| *known == type_name).map(|(_, value)| *value);
    let (words, load) = match number {
        _ if !aligned => return scalar_operand(name, binding, type_name),
        Some(Constant::U32(1)) => {
            ("vec2<u32>", "vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y))")
        }
        Some(Constant::U32(2)) => (
            "vec2<u32>",
            "bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u))",
        ),
        _ => ("vec4<f32>", "words"),
    };
    format!(
        "@group(0) @binding({binding}) var<storage, read> {name}: array<{words}>;
fn {name}_vector(index: u32) -> vec4<f32> {{
    let words = {name}[index];
    return {load};
}}
fn {name}_quad(at: u32, count: u32) -> vec4<f32> {{
    return {name}_vector(at >> 2u);
}}
"
    )
}

fn scalar_operand(name: &str, binding: u32, type_name: &str) -> String {
    format!(
        "@group(0) @binding({binding}) var<storage, read> {name}: array<u32>;
fn {name}_one(at: u32) -> f32 {{
    return decode({name}[word_of(at, {type_name})], at, {type_name});
}}
fn {name}_quad(at: u32, count: u32) -> vec4<f32> {{
    let steps = vec4<u32>(0u, 1u, 2u, 3u);
    let i = at + min(steps, vec4<u32>(count - 1u));
    let all = vec4<f32>({name}_one(i.x), {name}_one(i.y), {name}_one(i.z), {name}_one(i.w));
    return select(vec4<f32>(), all, steps < vec4<u32>(count));
}}
"
    )
}

/// Declares an f32 buffer that is read like an operand and written by `y_store(at, count, value)`.
pub(crate) fn result(name: &str, binding: u32, aligned: bool) -> String {
    if aligned {
        return format!(
            "@group(0) @binding({binding}) var<storage, read_write> {name}: array<vec4<f32>>;
fn {name}_quad(at: u32, count: u32) -> vec4<f32> {{
    return {name}[at >> 2u];
}}
fn {name}_store(at: u32, count: u32, value: vec4<f32>) {{
    {name}[at >> 2u] = value;
}}
"
        );
    }
    format!(
        "@group(0) @binding({binding}) var<storage, read_write> {name}: array<f32>;
fn {name}_quad(at: u32, count: u32) -> vec4<f32> {{
    let steps = vec4<u32>(0u, 1u, 2u, 3u);
    let i = at + min(steps, vec4<u32>(count - 1u));
    return select(vec4<f32>(), vec4<f32>({name}[i.x], {name}[i.y], {name}[i.z], {name}[i.w]), steps < vec4<u32>(count));
}}
fn {name}_store(at: u32, count: u32, value: vec4<f32>) {{
    {name}[at] = value.x;
    if (count > 1u) {{
        {name}[at + 1u] = value.y;
    }}
    if (count > 2u) {{
        {name}[at + 2u] = value.z;
    }}
    if (count > 3u) {{
        {name}[at + 3u] = value.w;
    }}
}}
"
    )
}
