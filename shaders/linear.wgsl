// y[m,n] = Σ_k x[m,k] · w[k,n] + bias[n]                            x [M,K], w [K,N], bias [N], y [M,N]
// with GATE:  y[m,n] = sigmoid(that) · multiplicand[m,n]            multiplicand [M,N]
//
// A workgroup computes 8 rows × (8 · lanes) columns. A lane owns columns n, n + lanes, n + 2·lanes … of all 8 rows, so
// that rows of x are uniform and rows of w are read side by side. No workgroup memory. A long K is split over
// dispatches, which carry the sum in y; the last one applies bias and gate.

struct Params {
    m: u32,
    k: u32,
    n: u32,
    k_begin: u32,
    k_end: u32,
    tiles_n: u32,
    // The tiles of this dispatch.
    tile_begin: u32,
    tile_end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<storage, read> multiplicand: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn load_x(index: u32) -> f32 {
    return decode(x[word_of(index, X_TYPE)], index, X_TYPE);
}

fn load_w(index: u32) -> f32 {
    return decode(w[word_of(index, W_TYPE)], index, W_TYPE);
}

fn store(row: u32, column: u32, sum: f32) {
    if (row >= params.m || column >= params.n) {
        return;
    }
    let index = row * params.n + column;
    var result = sum;
    if (params.k_begin > 0u) {
        result += y[index];
    }
    if (params.k_end == params.k) {
        if (HAS_BIAS) {
            result += decode(bias[word_of(column, W_TYPE)], column, W_TYPE);
        }
        if (GATE) {
            result = multiplicand[index] / (1.0 + exp2(-1.4426950408889634 * result));
        }
    }
    y[index] = result;
}

fn store_row(row: u32, column: u32, low: vec4<f32>, high: vec4<f32>) {
    store(row, column, low.x);
    store(row, column + WORKGROUP_SIZE, low.y);
    store(row, column + 2u * WORKGROUP_SIZE, low.z);
    store(row, column + 3u * WORKGROUP_SIZE, low.w);
    store(row, column + 4u * WORKGROUP_SIZE, high.x);
    store(row, column + 5u * WORKGROUP_SIZE, high.y);
    store(row, column + 6u * WORKGROUP_SIZE, high.z);
    store(row, column + 7u * WORKGROUP_SIZE, high.w);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = params.tile_begin + flat_workgroup(workgroup, workgroups);
    if (tile >= params.tile_end) {
        return;
    }
    let row = (tile / params.tiles_n) * 8u;
    let column = (tile % params.tiles_n) * 8u * WORKGROUP_SIZE + lane;

    // Rows and columns past the end repeat the last one and are not stored.
    let last_row = params.m - 1u;
    let k = params.k;
    let x0 = min(row, last_row) * k;
    let x1 = min(row + 1u, last_row) * k;
    let x2 = min(row + 2u, last_row) * k;
    let x3 = min(row + 3u, last_row) * k;
    let x4 = min(row + 4u, last_row) * k;
    let x5 = min(row + 5u, last_row) * k;
    let x6 = min(row + 6u, last_row) * k;
    let x7 = min(row + 7u, last_row) * k;
    let last_column = vec4<u32>(params.n - 1u);
    let steps = vec4<u32>(0u, 1u, 2u, 3u) * WORKGROUP_SIZE + column;
    let c_low = min(steps, last_column);
    let c_high = min(steps + 4u * WORKGROUP_SIZE, last_column);

    var a0 = vec4<f32>(); var b0 = vec4<f32>();
    var a1 = vec4<f32>(); var b1 = vec4<f32>();
    var a2 = vec4<f32>(); var b2 = vec4<f32>();
    var a3 = vec4<f32>(); var b3 = vec4<f32>();
    var a4 = vec4<f32>(); var b4 = vec4<f32>();
    var a5 = vec4<f32>(); var b5 = vec4<f32>();
    var a6 = vec4<f32>(); var b6 = vec4<f32>();
    var a7 = vec4<f32>(); var b7 = vec4<f32>();
    let end = params.k_end;
    for (var i = params.k_begin; i < end; i++) {
        let w_row = i * params.n;
        let low = vec4<f32>(
            load_w(w_row + c_low.x), load_w(w_row + c_low.y), load_w(w_row + c_low.z), load_w(w_row + c_low.w));
        let high = vec4<f32>(
            load_w(w_row + c_high.x), load_w(w_row + c_high.y), load_w(w_row + c_high.z), load_w(w_row + c_high.w));
        let v0 = load_x(x0 + i); a0 += v0 * low; b0 += v0 * high;
        let v1 = load_x(x1 + i); a1 += v1 * low; b1 += v1 * high;
        let v2 = load_x(x2 + i); a2 += v2 * low; b2 += v2 * high;
        let v3 = load_x(x3 + i); a3 += v3 * low; b3 += v3 * high;
        let v4 = load_x(x4 + i); a4 += v4 * low; b4 += v4 * high;
        let v5 = load_x(x5 + i); a5 += v5 * low; b5 += v5 * high;
        let v6 = load_x(x6 + i); a6 += v6 * low; b6 += v6 * high;
        let v7 = load_x(x7 + i); a7 += v7 * low; b7 += v7 * high;
    }
    store_row(row, column, a0, b0);
    store_row(row + 1u, column, a1, b1);
    store_row(row + 2u, column, a2, b2);
    store_row(row + 3u, column, a3, b3);
    store_row(row + 4u, column, a4, b4);
    store_row(row + 5u, column, a5, b5);
    store_row(row + 6u, column, a6, b6);
    store_row(row + 7u, column, a7, b7);
}
