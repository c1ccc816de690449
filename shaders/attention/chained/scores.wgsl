// scores[b,h,i,s] = score(Σ_d q[b,t,h,d] · k[b,s,h/G,d]) where visible, else −inf, for the queries t = query_begin + i
//                                                    q [B,T,H,D], k [B,S,Hkv,D], scores [B,H,queries,S]
// A workgroup computes 8 rows × (8 · lanes) keys of one batch element and key/value head. A lane owns keys s, s + lanes, …
// No workgroup memory.

#import shared/grid
#import shared/elements
#import shared/numbers
#import attention/visible
#import attention/score
#import attention/chained/rows

@group(0) @binding(1) var<storage, read> q: array<u32>;
@group(0) @binding(2) var<storage, read> k: array<u32>;
@group(0) @binding(3) var<storage, read> mask_bits: array<u32>;
@group(0) @binding(4) var<storage, read_write> scores: array<u32>;

fn load_q(index: u32) -> f32 {
    return decode(q[word_of(index, Q_TYPE)], index, Q_TYPE);
}

fn load_k(index: u32) -> f32 {
    return decode(k[word_of(index, K_TYPE)], index, K_TYPE);
}

/// Stores the masked scores of the products with keys s, s + WORKGROUP_SIZE, …
fn store_quad(b: u32, key_head: u32, row: u32, s: u32, products: vec4<f32>) {
    if (is_past(row)) {
        return;
    }
    let start = scores_at(b, key_head, row);
    let t = params.query_begin + query_of(row);
    let logits = score(products);
#for c in xyzw
    if (s + ${#c}u * WORKGROUP_SIZE < params.problem.key_len) {
        let key = s + ${#c}u * WORKGROUP_SIZE;
        // Selected by bits, so that a non-finite product of a hidden key (such as NaN in padding) is discarded.
        scores[start + key] =
            select(NEGATIVE_INFINITY, bitcast<u32>(logits.$c), visible(b, head_of(key_head, row), t, key));
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
    let s = (tile % params.tiles_key) * 8u * WORKGROUP_SIZE + lane;
    let rows = tile / params.tiles_key;
    let row = (rows % params.tiles_row) * 8u;
    let head = rows / params.tiles_row;
    let key_head = head % params.problem.key_heads;
    let b = head / params.problem.key_heads;

#for i in 8: let q$i = query_at(b, key_head, row + ${i}u);
    // Keys past the end repeat the last one and are not stored.
    let last_key = vec4<u32>(params.problem.key_len - 1u);
    let steps = vec4<u32>(0u, 1u, 2u, 3u) * WORKGROUP_SIZE + s;
    let width = params.problem.key_heads * params.head_dim;
    let k_start = b * params.problem.key_len * width + key_head * params.head_dim;
    let k_0 = min(steps, last_key) * width + k_start;
    let k_1 = min(steps + 4u * WORKGROUP_SIZE, last_key) * width + k_start;

#for i in 8, j in 2: var a$i_$j = vec4<f32>();
    let end = params.head_dim;
    for (var d = 0u; d < end; d++) {
#for j in 2: let keys_$j = vec4<f32>(load_k(k_$j.x + d), load_k(k_$j.y + d), load_k(k_$j.z + d), load_k(k_$j.w + d));
#for i in 8
        {
            let value = load_q(q$i + d);
#for j in 2: a$i_$j += value * keys_$j;
        }
#end
    }
#for i in 8, j in 2: store_quad(b, key_head, row + ${i}u, s + ${j}u * 4u * WORKGROUP_SIZE, a$i_$j);
}
