// y[m,n] = Σ_k x[m,k] · w[k,n] + bias[n]                            x [M,K], w [K,N], bias [N], y [M,N]
// with GATE:  y[m,n] = sigmoid(that) · multiplicand[m,n]            multiplicand [M,N]
//
// Cooperative matrices of MATRIX × MATRIX, held by a subgroup: f16 products, f32 sums. The tile of a workgroup has PART_ROWS ×
// PART_COLUMNS parts of ROWS × COLUMNS matrices. Each subgroup computes one part; with fewer subgroups than parts, further
// rounds compute the others, so no subgroup size is assumed. x and w are staged in workgroup memory, STEP k at a time. y
// passes through it too, one matrix of each part at a time, because WGSL gives no access to a matrix's elements. A long K is
// split over dispatches, which carry the sum in y; the last one applies bias and gate.

#import linear/interface
#import shared/halves

const PARTS: u32 = PART_ROWS * PART_COLUMNS;
const TILE_ROWS: u32 = PART_ROWS * ROWS * MATRIX;
const TILE_COLUMNS: u32 = PART_COLUMNS * COLUMNS * MATRIX;
// Rows are padded by 16 bytes against bank conflicts.
const X_STRIDE: u32 = STEP + 8u;
const W_STRIDE: u32 = TILE_COLUMNS + 8u;

var<workgroup> x_tile: array<f16, TILE_ROWS * X_STRIDE>;
var<workgroup> w_tile: array<f16, STEP * W_STRIDE>;
// One matrix of y per part.
var<workgroup> y_tile: array<f32, PARTS * MATRIX * MATRIX>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) all_subgroups: u32,
) {
    let subgroups = min(all_subgroups, PARTS_AT_ONCE);
    let tile = params.tile_begin + flat_workgroup(workgroup, workgroups);
    if (tile >= params.tile_end) {
        return;
    }
    let first_row = (tile / params.tiles_n) * TILE_ROWS;
    let first_column = (tile % params.tiles_n) * TILE_COLUMNS;
    // Rows and columns past the end repeat the last one and are not stored.
    let last_row = params.m - 1u;
    let last_column = select(params.n - 1u, params.n - 4u, ALIGNED);

    for (var round = 0u; round < PARTS; round += subgroups) {
        let part = round + subgroup;
        let working = subgroup < subgroups && part < PARTS;
        let part_row = (part / PART_COLUMNS) * ROWS * MATRIX;
        let part_column = (part % PART_COLUMNS) * COLUMNS * MATRIX;
#for i in ROWS, j in COLUMNS: var y$i_$j = MatrixSum();

        for (var at = params.k_begin; at < params.k_end; at += STEP) {
            workgroupBarrier();
            for (var e = lane; e < TILE_ROWS * STEP / 4u; e += WORKGROUP_SIZE) {
                let row = e / (STEP / 4u);
                let k = (e % (STEP / 4u)) * 4u;
                let quad = halves(x_at(min(first_row + row, last_row), at + k));
#for c in xyzw: x_tile[row * X_STRIDE + k + ${#c}u] = quad.$c;
            }
            for (var e = lane; e < STEP * TILE_COLUMNS / 4u; e += WORKGROUP_SIZE) {
                let k = e / (TILE_COLUMNS / 4u);
                let column = (e % (TILE_COLUMNS / 4u)) * 4u;
                let quad = halves(w_at(at + k, min(first_column + column, last_column)));
#for c in xyzw: w_tile[k * W_STRIDE + column + ${#c}u] = quad.$c;
            }
            workgroupBarrier();
            if (working) {
                for (var k = 0u; k < STEP; k += MATRIX) {
#for i in ROWS: let x$i = coopLoadT<MatrixLeft>(&x_tile[(part_row + ${i}u * MATRIX) * X_STRIDE + k], X_STRIDE);
#for j in COLUMNS: let w$j = coopLoadT<MatrixRight>(&w_tile[k * W_STRIDE + part_column + ${j}u * MATRIX], W_STRIDE);
#for i in ROWS, j in COLUMNS: y$i_$j = coopMultiplyAdd(x$i, w$j, y$i_$j);
                }
            }
        }

        let stored = min(subgroups, PARTS - round) * MATRIX * MATRIX / 4u;
#for i in ROWS, j in COLUMNS
        if (working) {
            coopStoreT(y$i_$j, &y_tile[subgroup * MATRIX * MATRIX], MATRIX);
        }
        workgroupBarrier();
        for (var e = lane; e < stored; e += WORKGROUP_SIZE) {
            let its_part = round + e / (MATRIX * MATRIX / 4u);
            let row = ((its_part / PART_COLUMNS) * ROWS + ${i}u) * MATRIX + (e / (MATRIX / 4u)) % MATRIX;
            let column = ((its_part % PART_COLUMNS) * COLUMNS + ${j}u) * MATRIX + (e % (MATRIX / 4u)) * 4u;
            let sum = vec4<f32>(y_tile[4u * e], y_tile[4u * e + 1u], y_tile[4u * e + 2u], y_tile[4u * e + 3u]);
            store(first_row + row, first_column + column, sum);
        }
        workgroupBarrier();
#end
    }
}
