// The score rule: maps a product q·k to the score that the softmax takes.

/// The scores of four products.
fn score(product: vec4<f32>) -> vec4<f32> {
    return product * params.problem.score.scale;
}

/// The gradients of four products, given those of their scores.
fn score_backward(d_score: vec4<f32>, product: vec4<f32>) -> vec4<f32> {
    return d_score * params.problem.score.scale;
}
