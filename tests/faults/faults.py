"""The faults that `plant.py` plants: one in each part of the code.

`files` are patterns of files, one of which has `find` once. `tests` are what must fail: arguments of `cargo test`, and last
the name of a test.
"""

LIB = ["--package", "gqa", "--lib"]


def kernel(name):
    return [[*LIB, f"kernels::tests::{name}"]]


def test(target, name=""):
    return [["--package", "gqa", "--test", target, name]]


FAULTS = [
    {
        "name": "fused: a key past the last counts",
        "files": ["shaders/**/*.wgsl"],
        "find": "return visible_word(b, h, t, s) & lowest_bits(end - s);",
        "replace": "return visible_word(b, h, t, s) & lowest_bits(end - s + 1u);",
        "tests": kernel("attention_forward"),
    },
    {
        "name": "fused: the window is one key too wide",
        "files": ["shaders/**/*.wgsl"],
        "find": "select(0u, position - window + 1u, position >= window)",
        "replace": "select(0u, position - window, position >= window)",
        "tests": kernel("attention_forward"),
    },
    {
        "name": "fused: heads are dealt to the wrong group",
        "files": ["shaders/attention/forward/*.wgsl"],
        "find": "return tile.key_head * tile.group + row % tile.group;",
        "replace": "return tile.key_head + (row % tile.group) * params.problem.key_heads;",
        "tests": kernel("attention_forward"),
    },
    {
        "name": "fused: a barrier is missing before the softmax",
        "files": ["shaders/attention/forward/lanes.wgsl"],
        "find": "${j}u * COLUMN_LANES] = s$i_$j;\n        workgroupBarrier();",
        "replace": "${j}u * COLUMN_LANES] = s$i_$j;",
        "tests": kernel("attention_forward"),
    },
    {
        "name": "fused: the sum of earlier dispatches is lost",
        "files": ["shaders/attention/forward/lanes.wgsl"],
        "find": "row_sum$o = state[lse_at$o].y;",
        "replace": "row_sum$o = 0.0;",
        "tests": kernel("attention_forward"),
    },
    {
        "name": "fused: dropout forgets where the batch begins",
        "files": ["shaders/attention/*.wgsl"],
        "find": "h, b + params.problem.dropout.batch_offset);",
        "replace": "h, b);",
        "tests": kernel("attention_forward"),
    },
    {
        "name": "splits: sums are merged without their shares",
        "files": ["shaders/attention/forward/*.wgsl"],
        "find": "row_sum += part.y * exp2((part.x - row_max) * LOG2_E);",
        "replace": "row_sum += part.y;",
        "tests": kernel("combine_splits"),
    },
    {
        "name": "backward: the scale is missing",
        "files": ["shaders/attention/*.wgsl"],
        "find": "return d_score * params.problem.score.scale;",
        "replace": "return d_score;",
        "tests": kernel("attention_backward"),
    },
    {
        "name": "chained: causal hides the diagonal",
        "files": ["shaders/**/*.wgsl"],
        "find": "seen = s <= position;",
        "replace": "seen = s < position;",
        "tests": kernel("chained::scores"),
    },
    {
        "name": "nonfinite: a hidden NaN leaks",
        "files": ["shaders/attention/nonfinite.wgsl"],
        "find": "return select(p * x, vec4<f32>(), vec4<bool>((bitcast<u32>(p) << 1u) == 0u));",
        "replace": "return p * x;",
        "tests": kernel("chained::weighted_values"),
    },
    {
        "name": "linear: the bias is dropped",
        "files": ["shaders/linear/interface.wgsl"],
        "find": "result += bias_quad(column, count);",
        "replace": "result += 0.0 * bias_quad(column, count);",
        "tests": kernel("linear::linear"),
    },
    {
        "name": "linear: what is added to is overwritten",
        "files": ["shaders/linear/interface.wgsl"],
        "find": "if (params.k_begin > 0u || params.add != 0u) {",
        "replace": "if (params.k_begin > 0u) {",
        "tests": kernel("linear::linear"),
    },
    {
        "name": "cast: ties round up instead of to even",
        "files": ["shaders/shared/rounding.wgsl"],
        "find": "return sign | ((rebiased + 0xfffu + ((rebiased >> 13u) & 1u)) >> 13u);",
        "replace": "return sign | ((rebiased + 0x1000u) >> 13u);",
        "tests": kernel("elementwise::cast"),
    },
    {
        "name": "sums: the stride forgets the inner axis",
        "files": ["shaders/**/sums.wgsl"],
        "find": "at += params.segments * params.inner;",
        "replace": "at += params.segments;",
        "tests": kernel("sums::sums_are"),
    },
    {
        "name": "transpose: rows and columns are swapped in the store",
        "files": ["shaders/**/transpose.wgsl"],
        "find": "y[column * params.rows + row]",
        "replace": "y[row * params.columns + column]",
        "tests": kernel("sums::transpose"),
    },
    {
        "name": "masks: a mask of one head is strided as if of one query",
        "files": ["src/attention/masks.rs"],
        "find": "stride(h, t * row)",
        "replace": "stride(h, row)",
        "tests": test("layer", "every_broadcast"),
    },
    {
        "name": "windows: a binding begins where its tensor does not",
        "files": ["src/gpu/windows.rs"],
        "find": "offset: range.offset + begin, bytes }, shift)",
        "replace": "offset: range.offset + begin, bytes }, 0)",
        "tests": kernel("windows"),
    },
    {
        "name": "uniforms: the parameters of the last call are used again",
        "files": ["src/gpu/uniforms.rs"],
        "find": "gpu.queue().write_buffer(buffer, 0, &padded);",
        "replace": "let _ = padded.len();",
        "tests": test("layer", "batch_split"),
    },
    {
        "name": "adam: the bias of the first moment is not corrected",
        "files": ["src/training/**/*.rs"],
        "find": "(1.0 - beta_2.powf(t)).sqrt() / (1.0 - beta_1.powf(t))",
        "replace": "(1.0 - beta_2.powf(t)).sqrt()",
        "tests": [[*LIB, "training::tests"]],
    },
    {
        "name": "hdf5: values are written one number too late",
        "files": ["src/keras/h5_write.rs"],
        "find": "Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)",
        "replace": "Some(usize::try_from(start).ok()? + 4..usize::try_from(end).ok()? + 4)",
        "tests": test("keras_saving"),
    },
    {
        "name": "safetensors: a tensor begins one byte late",
        "files": ["src/**/safetensors.rs"],
        "find": "data + info.data_offsets.0..data + info.data_offsets.1",
        "replace": "data + info.data_offsets.0 + 4..data + info.data_offsets.1 + 4",
        "tests": test("keras_files"),
    },
]
