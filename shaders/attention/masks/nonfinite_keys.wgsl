// bits[b, hk, s] = whether v[b,s,hk,:] has a NaN or an infinity                                        v [B,S,Hkv,D]
//
// A workgroup packs the bits of 32 keys of one key/value head into a word, one lane per key.

#import shared/grid
#import shared/elements
#import attention/nonfinite

@group(0) @binding(2) var<storage, read_write> bits: array<u32>;

var<workgroup> nonfinite: array<u32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let word = flat_workgroup(workgroup, workgroups);
    if (word >= params.words) {
        return;
    }
    let head = word / params.words_per_head;
    let s = (word % params.words_per_head) * 32u + lane;
    let d_end = params.head_dim;
    let at = params.v_base
        + ((head / params.key_heads * params.keys + min(s, params.keys - 1u)) * params.key_heads + head % params.key_heads) * d_end;
    var all_finite = true;
    for (var d = 0u; d < d_end; d += 4u) {
        all_finite = all_finite && finite(v_quad(at + d, d_end - d));
    }
    nonfinite[lane] = select(1u << lane, 0u, all_finite);
    workgroupBarrier();
    if (lane == 0u) {
        var all = 0u;
        for (var i = 0u; i < 32u; i++) {
            all |= nonfinite[i];
        }
        bits[params.start + word] = all;
    }
}
