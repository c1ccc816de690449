// n[v,k] = x[v,k] · min(1 / √squares[v], 1 / ε)           n [vectors,length], squares [vectors] = Σ_k x[v,k]²
//
// The vectors are the rows or the columns of a matrix x; strides locate their elements.

#import shared/grid
#import training/inverse_norm

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> squares: array<f32>;
@group(0) @binding(3) var<storage, read_write> n: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_element(workgroup, workgroups, lane, params.count);
    if (i >= params.count) {
        return;
    }
    let v = i / params.length;
    let at = v * params.vector_stride + i % params.length * params.element_stride;
    n[i] = x[at] * inverse_norm(squares[v]);
}
