// y[m,n] = Σ_k x[m,k] · w[k,n] + bias[n]                            x [M,K], w [K,N], bias [N], y [M,N]
// with GATE:  y[m,n] = sigmoid(that) · multiplicand[m,n]            multiplicand [M,N]
//
// A workgroup computes TILE_ROWS rows × TILE_QUADS vectors of four columns. Its lanes form a grid of ROW_LANES ×
// COLUMN_LANES. A lane owns ROWS rows, ROW_LANES apart, and QUADS vectors, COLUMN_LANES apart, in registers. With STAGED, x
// and w are staged in workgroup memory, 16 k at a time; otherwise lanes read the buffers directly. A long K is split over
// dispatches, which carry the sum in y; the last one applies bias and gate.

#import linear/interface

const TILE_ROWS: u32 = ROW_LANES * ROWS;
const TILE_QUADS: u32 = COLUMN_LANES * QUADS;

#if STAGED
// A row is the four vectors of 16 k, padded by one against bank conflicts.
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
    // With one row of lanes, row_lane is a constant: addresses without it stay uniform, and drivers load those once.
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
#for i in ROWS: let x$i = params.x_base + min(first_row + row_lane + ${i}u * ROW_LANES, last_row) * k;
#for j in QUADS: let c$j = min(first_column + (column_lane + ${j}u * COLUMN_LANES) * 4u, last_column);
#if ALIGNED
    // Addresses are in vectors and advance by additions, the only integer arithmetic in the loop.
#for i in ROWS: let xv$i = x$i / 4u;
#for j in QUADS: let cv$j = c$j / 4u;
    let w_stride = params.n / 4u;
    var w_row = params.k_begin * w_stride;
    for (var at = params.k_begin / 4u; at < end / 4u; at++) {
#for i in ROWS: let x_$i = x_vector(xv$i + at);
#for c in xyzw
        {
#for j in QUADS: let w$j = w_vector(w_row + cv$j);
#for i in ROWS, j in QUADS: a$i_$j += x_$i.$c * w$j;
            w_row += w_stride;
        }
#end
    }
#else
    for (var at = params.k_begin; at < end; at += 4u) {
#for i in ROWS: let x_$i = x_quad(x$i + at, k - at);
#for c in xyzw
        {
#for j in QUADS: let w$j = w_at(at + ${#c}u, c$j);
#for i in ROWS, j in QUADS: a$i_$j += x_$i.$c * w$j;
        }
#end
    }
#end
#else
    for (var at = params.k_begin; at < end; at += 16u) {
        workgroupBarrier();
        for (var e = lane; e < TILE_ROWS * 4u; e += WORKGROUP_SIZE) {
            let row = min(first_row + e / 4u, last_row);
            let x_k = at + (e % 4u) * 4u;
            x_tile[(e / 4u) * X_STRIDE + e % 4u] = x_at(row, x_k);
        }
        for (var e = lane; e < 16u * TILE_QUADS; e += WORKGROUP_SIZE) {
            w_tile[e] = w_at(at + e / TILE_QUADS, min(first_column + (e % TILE_QUADS) * 4u, last_column));
        }
        workgroupBarrier();
        for (var step = 0u; step < 4u; step++) {
#for i in ROWS: let x_$i = x_tile[(row_lane + ${i}u * ROW_LANES) * X_STRIDE + step];
#for c in xyzw
            {
#for j in QUADS: let w$j = w_tile[(step * 4u + ${#c}u) * TILE_QUADS + column_lane + ${j}u * COLUMN_LANES];
#for i in ROWS, j in QUADS: a$i_$j += x_$i.$c * w$j;
            }
#end
        }
    }
#end

#for i in ROWS, j in QUADS: store(first_row + row_lane + ${i}u * ROW_LANES, first_column + (column_lane + ${j}u * COLUMN_LANES) * 4u, a$i_$j);
}
