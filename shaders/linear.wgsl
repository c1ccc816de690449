// y[m,n] = Σ_k x[m,k] · w[k,n] + bias[n]                            x [M,K], w [K,N], bias [N], y [M,N]
// with GATE:  y[m,n] = sigmoid(that) · multiplicand[m,n]            multiplicand [M,N]
//
// A workgroup computes TILE_ROWS rows × TILE_QUADS vectors of four columns. Its lanes stand in ROW_LANES rows and
// COLUMN_LANES columns; a lane owns ROWS rows, ROW_LANES apart, and QUADS vectors, COLUMN_LANES apart, in registers.
// STAGED: x and w come through workgroup memory, 16 k at a time; else straight from their buffers. A long K is split
// over dispatches, which carry the sum in y; the last one applies bias and gate.

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
    // Where the first row begins in x, and in y and multiplicand.
    x_base: u32,
    y_base: u32,
}

const TILE_ROWS: u32 = ROW_LANES * ROWS;
const TILE_QUADS: u32 = COLUMN_LANES * QUADS;

@group(0) @binding(0) var<uniform> params: Params;

fn store(row: u32, column: u32, sum: vec4<f32>) {
    if (row >= params.m || column >= params.n) {
        return;
    }
    let at = params.y_base + row * params.n + column;
    let count = params.n - column;
    var result = sum;
    if (params.k_begin > 0u) {
        result += y_quad(at, count);
    }
    if (params.k_end == params.k) {
        if (HAS_BIAS) {
            result += bias_quad(column, count);
        }
        if (GATE) {
            result = multiplicand_quad(at, count) / (1.0 + exp2(-1.4426950408889634 * result));
        }
    }
    y_store(at, count, result);
}

/// w[k, column …], 0 past the end of K.
fn w_at(k: u32, column: u32) -> vec4<f32> {
    let quad = w_quad(min(k, params.k - 1u) * params.n + column, params.n - column);
    if (ALIGNED) {
        return quad;
    }
    return select(vec4<f32>(), quad, k < params.k);
}

#if STAGED
// One more vector a row than 16 k take, against bank conflicts.
const X_STRIDE: u32 = 5u;
var<workgroup> x_tile: array<vec4<f32>, TILE_ROWS * X_STRIDE>;
var<workgroup> w_tile: array<vec4<f32>, 16u * TILE_QUADS>;
#end

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
    // Nothing that depends on the lane where there is one row of them: drivers load what is the same for all lanes once.
    var row_lane = 0u;
    if (ROW_LANES > 1u) {
        row_lane = lane / COLUMN_LANES;
    }
    let column_lane = lane - row_lane * COLUMN_LANES;
    let first_row = (tile / params.tiles_n) * TILE_ROWS;
    let first_column = (tile % params.tiles_n) * TILE_QUADS * 4u;
    // Rows and columns past the end repeat the last one and are not stored.
    let last_row = params.m - 1u;
    let last_column = select(params.n - 1u, params.n - 4u, ALIGNED);
    let k = params.k;
    let end = params.k_end;
#for i in ROWS, j in QUADS: var a$i_$j = vec4<f32>();

#if !STAGED
#for i in ROWS: let x$i = params.x_base + min(first_row + row_lane + $iu * ROW_LANES, last_row) * k;
#for j in QUADS: let c$j = min(first_column + (column_lane + $ju * COLUMN_LANES) * 4u, last_column);
    for (var at = params.k_begin; at < end; at += 4u) {
#for i in ROWS: let x_$i = x_quad(x$i + at, k - at);
#for c in xyzw
        {
#for j in QUADS: let w$j = w_at(at + $#cu, c$j);
#for i in ROWS, j in QUADS: a$i_$j += x_$i.$c * w$j;
        }
#end
    }
#end
#if STAGED
    for (var at = params.k_begin; at < end; at += 16u) {
        workgroupBarrier();
        for (var e = lane; e < TILE_ROWS * 4u; e += WORKGROUP_SIZE) {
            let row = min(first_row + e / 4u, last_row);
            let x_k = at + (e % 4u) * 4u;
            let quad = x_quad(params.x_base + row * k + min(x_k, select(k - 1u, k - 4u, ALIGNED)), max(k, x_k + 1u) - x_k);
            x_tile[(e / 4u) * X_STRIDE + e % 4u] = select(vec4<f32>(), quad, x_k < k);
        }
        for (var e = lane; e < 16u * TILE_QUADS; e += WORKGROUP_SIZE) {
            let w_k = at + e / TILE_QUADS;
            let quad = w_at(w_k, min(first_column + (e % TILE_QUADS) * 4u, last_column));
            w_tile[e] = select(vec4<f32>(), quad, w_k < k);
        }
        workgroupBarrier();
        for (var step = 0u; step < 4u; step++) {
#for i in ROWS: let x_$i = x_tile[(row_lane + $iu * ROW_LANES) * X_STRIDE + step];
#for c in xyzw
            {
#for j in QUADS: let w$j = w_tile[(step * 4u + $#cu) * TILE_QUADS + column_lane + $ju * COLUMN_LANES];
#for i in ROWS, j in QUADS: a$i_$j += x_$i.$c * w$j;
            }
#end
        }
    }
#end

#for i in ROWS, j in QUADS: store(first_row + row_lane + $iu * ROW_LANES, first_column + (column_lane + $ju * COLUMN_LANES) * 4u, a$i_$j);
}
