// Common to the layouts of a projection: loads bounded by K, and the epilogue with bias and gate.

#import shared/grid
#import shared/elements
#import shared/numbers

fn store(row: u32, column: u32, sum: vec4<f32>) {
    if (row >= params.m || column >= params.n) {
        return;
    }
    let at = params.y_base + row * params.n + column;
    let count = params.n - column;
    var result = sum;
    if (params.k_begin > 0u || params.add != 0u) {
        result += y_quad(at, count);
    }
    if (params.k_end == params.k) {
        if (HAS_BIAS) {
            result += bias_quad(column, count);
        }
        if (GATE) {
            result = multiplicand_quad(at, count) / (1.0 + exp2(-LOG2_E * result));
        }
    }
    y_store(at, count, result);
}

/// x[row, k …], 0 past the end of K.
fn x_at(row: u32, k: u32) -> vec4<f32> {
    let last = select(params.k - 1u, params.k - 4u, ALIGNED);
    let quad = x_quad(params.x_base + row * params.k + min(k, last), max(params.k, k + 1u) - k);
    return select(vec4<f32>(), quad, k < params.k);
}

/// w[k, column …], 0 past the end of K.
fn w_at(k: u32, column: u32) -> vec4<f32> {
    let quad = w_quad(min(k, params.k - 1u) * params.n + column, params.n - column);
    return select(vec4<f32>(), quad, k < params.k);
}
