use super::layer::{Forward, forward, matrix};
use super::{AttentionOptions, CallOptions, attention_backward, linear_backward, regularizer_backward};
use crate::{Array, Config, Error, Projection, Result, Weights};

const OPERATION: &str = "reference::backward";

/// Results of [`backward`].
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Gradients of the weights.
    pub weights: Weights<Array<f64>>,
    /// `[B,T,C]`
    pub query: Array<f64>,
    /// `[B,S,Cv]`. If value was used as key, the sum of both gradients.
    pub value: Array<f64>,
    /// `[B,S,Ck]`, if key was given.
    pub key: Option<Array<f64>>,
}

/// The gradients of `Σ d_output ∘ attention_output + regularization_loss` of [`call`](super::call) with respect to the weights
/// and the inputs, as the policy's compute type sees them; d_output is `[B,T,C]`.
pub fn backward(
    config: &Config,
    weights: &Weights<Array<f64>>,
    query: &Array<f64>,
    value: &Array<f64>,
    options: &CallOptions<'_>,
    d_output: &Array<f64>,
) -> Result<Gradients> {
    let forward = forward(config, weights, query, value, options)?;
    let Forward { rounded, inputs: [query, key, value], q, k, v, gate, attended, gated, output, .. } =
        &forward;
    if d_output.shape() != output.shape() {
        let expected = format!("of the output's shape {:?}", output.shape());
        return Err(Error::argument(OPERATION, "d_output", expected, format!("{:?}", d_output.shape())));
    }
    let batch = output.shape()[0] as f64;
    let penalize = |gradient: Array<f64>, x: &Array<f64>, times: f64| match &config.activity_regularizer {
        Some(regularizer) => {
            let penalty = regularizer_backward(regularizer, x.data(), [0, 0]);
            Array::from_fn(x.shape(), |i| gradient.data()[i] + times * penalty[i] / batch)
        }
        None => gradient,
    };

    let d_output = penalize(d_output.clone(), output, 2.0);
    let (attention_output, d_gated) = project_backward(&rounded.attention_output, gated, &d_output)?;
    // gated = gate ∘ out, gate = sigmoid(z)
    let (d_out, d_z) = match gate {
        None => (d_gated, None),
        Some(gate) => {
            let d_gate = penalize(multiply(&d_gated, &attended.output), gate, 1.0);
            let d_z = multiply(&d_gate, &gate.map(|g| g * (1.0 - g)));
            (multiply(&d_gated, gate), Some(d_z))
        }
    };
    let attention_options: &AttentionOptions<'_> = &forward.attention_options;
    let attention = attention_backward(q, k, v, &d_out, attention_options)?;
    let (dq, dk, dv) =
        (penalize(attention.dq, q, 1.0), penalize(attention.dk, k, 1.0), penalize(attention.dv, v, 1.0));
    let (d_w_query, mut d_query) = project_backward(&rounded.query, query, &dq)?;
    let (d_w_key, d_key) = project_backward(&rounded.key, key, &dk)?;
    let (d_w_value, mut d_value) = project_backward(&rounded.value, value, &dv)?;
    let d_w_gate = match (&rounded.gate, &d_z) {
        (Some(gate), Some(d_z)) => {
            let (d_w_gate, d_input) = project_backward(gate, query, d_z)?;
            d_query = add(&d_query, &d_input);
            Some(d_w_gate)
        }
        _ => None,
    };
    let d_key = match options.key {
        Some(_) => Some(d_key),
        None => {
            d_value = add(&d_value, &d_key);
            None
        }
    };
    let mut gradients =
        Weights { query: d_w_query, key: d_w_key, value: d_w_value, gate: d_w_gate, attention_output };
    if config.trainable {
        let named = weights.named().into_iter();
        let mut penalties = named.map(|(name, weight)| {
            let kernel = name.ends_with("/kernel");
            let regularizer = if kernel { &config.kernel_regularizer } else { &config.bias_regularizer };
            let regularizer = regularizer.as_ref()?;
            Some(regularizer_backward(regularizer, weight.data(), matrix(&name, weight.shape())))
        });
        gradients = gradients.map(|gradient| match penalties.next().flatten() {
            Some(penalty) => Array::from_fn(gradient.shape(), |i| gradient.data()[i] + penalty[i]),
            None => gradient.clone(),
        });
    }
    Ok(Gradients { weights: gradients, query: d_query, value: d_value, key: d_key })
}

fn add(a: &Array<f64>, b: &Array<f64>) -> Array<f64> {
    Array::from_fn(a.shape(), |i| a.data()[i] + b.data()[i])
}

fn multiply(a: &Array<f64>, b: &Array<f64>) -> Array<f64> {
    Array::from_fn(a.shape(), |i| a.data()[i] * b.data()[i])
}

/// The gradients of a projection's weights and of its input x, from the gradient of its output.
fn project_backward(
    weights: &Projection<Array<f64>>,
    x: &Array<f64>,
    dy: &Array<f64>,
) -> Result<(Projection<Array<f64>>, Array<f64>)> {
    // [B, length, …] is [M, …].
    let m = x.shape()[0] * x.shape()[1];
    let (k, n) = (x.data().len() / m, dy.data().len() / m);
    let [dx, dw, db] = linear_backward(x.data(), weights.kernel.data(), dy.data(), [m, k, n]);
    let bias = weights.bias.as_ref().map(|bias| Array::new(bias.shape(), db)).transpose()?;
    let kernel = Array::new(weights.kernel.shape(), dw)?;
    Ok((Projection { kernel, bias }, Array::new(x.shape(), dx)?))
}
