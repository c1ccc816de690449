// y[c,r] = x[r,c]                                                        x [rows,columns], y [columns,rows] f32
//
// A workgroup transposes one tile in workgroup memory, so that reads and writes are both contiguous.

#import shared/grid
#import shared/elements

const TILE: u32 = 32u;
// Rows of a tile that the lanes handle at a time.
const AT_ONCE: u32 = WORKGROUP_SIZE / TILE;

@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Rows are padded by one element, so that a column's elements lie in different banks.
var<workgroup> tile: array<f32, TILE * (TILE + 1u)>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = flat_workgroup(workgroup, workgroups);
    if (index >= params.tiles) {
        return;
    }
    let tiles_across = (params.columns + TILE - 1u) / TILE;
    let first_row = index / tiles_across * TILE;
    let first_column = index % tiles_across * TILE;
    let across = lane % TILE;
    let down = lane / TILE;

    for (var i = down; i < TILE; i += AT_ONCE) {
        let row = first_row + i;
        let column = first_column + across;
        if (row < params.rows && column < params.columns) {
            let at = row * params.columns + column;
            tile[i * (TILE + 1u) + across] = decode(x[word_of(at, X_TYPE)], at, X_TYPE);
        }
    }
    workgroupBarrier();
    for (var i = down; i < TILE; i += AT_ONCE) {
        let row = first_row + across;
        let column = first_column + i;
        if (row < params.rows && column < params.columns) {
            y[column * params.rows + row] = tile[across * (TILE + 1u) + i];
        }
    }
}
