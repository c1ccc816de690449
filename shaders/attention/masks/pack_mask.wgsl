// bits[row, s] = mask[row, s] (∧ second[row, s])                mask, second [rows, length] bytes, 0 is false
//
// A row of bits begins at word start + row · words_per_row; element s is bit s & 31 of the word s >> 5 from there.

#import shared/grid

@group(0) @binding(1) var<storage, read> mask: array<u32>;
@group(0) @binding(2) var<storage, read> second: array<u32>;
@group(0) @binding(3) var<storage, read_write> bits: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_workgroup(workgroup, workgroups);
    let words = params.rows * params.words_per_row;
    if (tile > words / WORKGROUP_SIZE) {
        return;
    }
    let word = tile * WORKGROUP_SIZE + lane;
    if (word >= words) {
        return;
    }
    let row = word / params.words_per_row;
    let s = (word % params.words_per_row) * 32u;
    let count = min(32u, params.length - s);
    var packed = 0u;
    for (var i = 0u; i < count; i++) {
        let index = params.base + row * params.length + s + i;
        let shift = (index & 3u) * 8u;
        var seen = ((mask[index >> 2u] >> shift) & 0xffu) != 0u;
        if (HAS_SECOND) {
            seen = seen && ((second[index >> 2u] >> shift) & 0xffu) != 0u;
        }
        packed |= u32(seen) << i;
    }
    bits[params.start + word] = packed;
}
