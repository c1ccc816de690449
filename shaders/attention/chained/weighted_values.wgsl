// out[b,t,h,d] = Σ_s probs[b,h,i,s] · v[b,s,h/G,d] for the queries t = query_begin + i
//                                                    probs [B,H,queries,S], v [B,S,Hkv,D], out [B,T,H,D]
// A workgroup computes 8 rows × (8 · lanes) elements of D of one batch element and key/value head. A lane owns d, d + lanes, …
// A key of probability 0 adds nothing, even if its value is non-finite. No workgroup memory. Many keys are split over
// dispatches, which carry the sum in out.

#import shared/grid
#import shared/elements
#import attention/nonfinite
#import attention/chained/rows

@group(0) @binding(1) var<storage, read> probs: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn load_v(index: u32) -> f32 {
    return decode(v[word_of(index, V_TYPE)], index, V_TYPE);
}

/// Stores the sums of d, d + WORKGROUP_SIZE, …
fn store_quad(b: u32, key_head: u32, row: u32, d: u32, sums: vec4<f32>) {
    if (is_past(row)) {
        return;
    }
    let start = query_at(b, key_head, row);
#for c in xyzw
    if (d + ${#c}u * WORKGROUP_SIZE < params.head_dim) {
        let at = start + d + ${#c}u * WORKGROUP_SIZE;
        if (params.key_begin > 0u) {
            out[at] += sums.$c;
        } else {
            out[at] = sums.$c;
        }
    }
#end
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
    let d = (tile % params.tiles_d) * 8u * WORKGROUP_SIZE + lane;
    let rows = tile / params.tiles_d;
    let row = (rows % params.tiles_row) * 8u;
    let head = rows / params.tiles_row;
    let key_head = head % params.problem.key_heads;
    let b = head / params.problem.key_heads;

#for i in 8: let p$i = scores_at(b, key_head, row + ${i}u);
    // Elements past the end of D repeat the last one and are not stored.
    let last = vec4<u32>(params.head_dim - 1u);
    let steps = vec4<u32>(0u, 1u, 2u, 3u) * WORKGROUP_SIZE + d;
    let width = params.problem.key_heads * params.head_dim;
    let v_start = b * params.problem.key_len * width + key_head * params.head_dim;
    let v_0 = min(steps, last) + v_start;
    let v_1 = min(steps + 4u * WORKGROUP_SIZE, last) + v_start;

#for i in 8, j in 2: var a$i_$j = vec4<f32>();
    let end = params.key_end;
    for (var s = params.key_begin; s < end; s++) {
        let at = s * width;
#for j in 2: let values_$j = vec4<f32>(load_v(at + v_$j.x), load_v(at + v_$j.y), load_v(at + v_$j.z), load_v(at + v_$j.w));
#for i in 8: let w$i = probs[p$i + s];
        if (finite(values_0) && finite(values_1)) {
#for i in 8, j in 2: a$i_$j += w$i * values_$j;
        } else {
#for i in 8, j in 2: a$i_$j += product_or_zero(w$i, values_$j);
        }
    }
#for i in 8, j in 2: store_quad(b, key_head, row + ${i}u, d + ${j}u * 4u * WORKGROUP_SIZE, a$i_$j);
}
