// n[v,k] = x[v,k] · inverse,  inverse = min(1 / √squares[v], 1 / ε)                        (the forward line)
// dx[v,k] += inverse · (dn[v,k] − n[v,k] · dots[v]),  dots[v] = Σ_k n[v,k] · dn[v,k]; no dots where inverse is 1 / ε
//                                           n, dn [vectors,length], squares, dots [vectors]; dx is laid out like x

#import shared/grid
#import training/inverse_norm

@group(0) @binding(1) var<storage, read> n: array<f32>;
@group(0) @binding(2) var<storage, read> dn: array<f32>;
@group(0) @binding(3) var<storage, read> squares: array<f32>;
@group(0) @binding(4) var<storage, read> dots: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

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
    let dot = select(dots[v], 0.0, is_short(squares[v]));
    dx[at] += inverse_norm(squares[v]) * (dn[i] - n[i] * dot);
}
