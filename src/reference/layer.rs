use super::{
    Attention, AttentionOptions, ScoreRule, Visibility, attention_forward, cast, linear, regularizer_loss,
};
use crate::shapes::Dims;
use crate::{Array, Config, Dropout, Error, FeatureWidths, Projection, Result, Weights};

const CALL: &str = "reference::call";

/// The options of [`call`], as those of the GPU's [`call`](crate::GroupedQueryAttention::call).
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions<'a> {
    /// `[B,S,Ck]`. `None` uses value as key.
    pub key: Option<&'a Array<f64>>,
    /// `[T,S]`, `[B,T,S]` or `[B,H,T,S]`; any axis may be 1.
    pub attention_mask: Option<&'a Array<bool>>,
    /// `[B,T]`
    pub query_mask: Option<&'a Array<bool>>,
    /// `[B,S]`
    pub value_mask: Option<&'a Array<bool>>,
    /// `[B,S]`
    pub key_mask: Option<&'a Array<bool>>,
    /// Query t sees only keys s ≤ t + `q_offset`.
    pub use_causal_mask: bool,
    /// Drops probabilities with the config's `dropout` and this seed; `None` drops nothing.
    pub dropout_seed: Option<u64>,
    /// Position of the first query among the keys.
    pub q_offset: u32,
    /// Position of the first batch element in its batch.
    pub batch_offset: u32,
}

/// Results of [`call`].
#[derive(Debug, Clone)]
pub struct CallOutput {
    /// `[B,T,C]`
    pub attention_output: Array<f64>,
    /// Probabilities before dropout, `[B,H,T,S]`.
    pub attention_scores: Array<f64>,
    /// ln Σ exp(score), `[B,H,T]` flattened.
    pub lse: Vec<f64>,
    /// The penalties on weights and activities, as Keras adds them to the loss: an activity regularizer counts for each
    /// projection and for the layer's output, divided by the batch size. Regularizers that are not Keras' own count as 0.
    pub regularization_loss: f64,
}

/// Runs the layer on query `[B,T,C]` and value `[B,S,Cv]`. Inputs and weights are rounded to the policy's types; intermediates
/// are f64.
pub fn call(
    config: &Config,
    weights: &Weights<Array<f64>>,
    query: &Array<f64>,
    value: &Array<f64>,
    options: &CallOptions<'_>,
) -> Result<CallOutput> {
    let forward = forward(config, weights, query, value, options)?;
    Ok(CallOutput {
        regularization_loss: forward.regularization_loss(config, weights),
        attention_output: forward.output,
        attention_scores: forward.attended.scores,
        lse: forward.attended.lse,
    })
}

/// The intermediates of a call.
pub(super) struct Forward<'a> {
    /// The weights and query, key and value in the policy's compute type.
    pub(super) rounded: Weights<Array<f64>>,
    pub(super) inputs: [Array<f64>; 3],
    pub(super) q: Array<f64>,
    pub(super) k: Array<f64>,
    pub(super) v: Array<f64>,
    pub(super) attention_options: AttentionOptions<'a>,
    pub(super) attended: Attention,
    pub(super) gate: Option<Array<f64>>,
    pub(super) gated: Array<f64>,
    pub(super) output: Array<f64>,
}

pub(super) fn forward<'a>(
    config: &Config,
    weights: &Weights<Array<f64>>,
    query: &Array<f64>,
    value: &Array<f64>,
    options: &CallOptions<'a>,
) -> Result<Forward<'a>> {
    config.validate()?;
    let widths = weights.widths(CALL, config)?;
    let dims = Dims::new(CALL, config, query.shape(), value.shape(), options.key.map(Array::shape))?;
    check_widths(widths, query, value, options.key)?;
    let visibility = Visibility {
        causal: options.use_causal_mask,
        window: config.sliding_window,
        q_offset: options.q_offset as usize,
        attention_mask: options.attention_mask,
        query_mask: options.query_mask,
        value_mask: options.value_mask,
        key_mask: options.key_mask,
    };
    visibility.check(CALL, &dims)?;
    let Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } = dims;

    let dtype = config.dtype.compute_dtype();
    let round = |x: &Array<f64>| cast(x, dtype);
    let rounded = weights.map(round);
    let query = round(query);
    let key = round(options.key.unwrap_or(value));
    let value = round(value);

    let q = project(&rounded.query, &query, [b * t, widths.query, h * d]);
    let k = project(&rounded.key, &key, [b * s, widths.key, hkv * d]);
    let v = project(&rounded.value, &value, [b * s, widths.value, hkv * d]);
    let (q, k, v) =
        (Array::new([b, t, h, d], q)?, Array::new([b, s, hkv, d], k)?, Array::new([b, s, hkv, d], v)?);
    let attention_options = AttentionOptions {
        score: ScoreRule::of_layer(d),
        visibility,
        dropout: options.dropout_seed.filter(|_| config.dropout > 0.0).map(|seed| Dropout {
            probability: config.dropout,
            seed,
            q_offset: options.q_offset,
            batch_offset: options.batch_offset,
        }),
    };
    let attended = attention_forward(&q, &k, &v, &attention_options)?;
    let (mut gate, mut gated) = (None, attended.output.clone());
    if let Some(of_gate) = &rounded.gate {
        let z = project(of_gate, &query, [b * t, widths.query, h * d]);
        let (own_gate, own_gated) = super::gate(&z, attended.output.data());
        gate = Some(Array::new([b, t, h, d], own_gate)?);
        gated = Array::new([b, t, h, d], own_gated)?;
    }
    let output = project(&rounded.attention_output, &gated, [b * t, h * d, widths.query]);
    let output = Array::new([b, t, widths.query], output)?;
    let inputs = [query, key, value];
    Ok(Forward { rounded, inputs, q, k, v, attention_options, attended, gate, gated, output })
}

impl Forward<'_> {
    /// The sum of the layer's penalties on its weights and activities, as in Keras.
    fn regularization_loss(&self, config: &Config, weights: &Weights<Array<f64>>) -> f64 {
        let batch = self.output.shape()[0] as f64;
        // The output counts twice: as the output of the projection attention_output and as that of the layer.
        let activities = [&self.q, &self.k, &self.v, &self.output, &self.output];
        let of_activity = config.activity_regularizer.iter().flat_map(|regularizer| {
            let all = activities.into_iter().chain(&self.gate);
            all.map(move |x| regularizer_loss(regularizer, x.data(), [0, 0]) / batch)
        });
        let of_weights = weights.named().into_iter().filter_map(|(name, weight)| {
            let kernel = name.ends_with("/kernel");
            let regularizer = if kernel { &config.kernel_regularizer } else { &config.bias_regularizer };
            let regularizer = regularizer.as_ref().filter(|_| config.trainable)?;
            Some(regularizer_loss(regularizer, weight.data(), matrix(&name, weight.shape())))
        });
        of_activity.sum::<f64>() + of_weights.sum::<f64>()
    }
}

/// A weight as a matrix: kernels are `[in, out]`.
pub(super) fn matrix(name: &str, shape: &[usize]) -> [usize; 2] {
    let rows = if name == "attention_output/kernel" { 2 } else { 1 };
    [shape[..rows.min(shape.len())].iter().product(), shape[rows.min(shape.len())..].iter().product()]
}

fn project(weights: &Projection<Array<f64>>, x: &Array<f64>, sizes: [usize; 3]) -> Vec<f64> {
    linear(x.data(), weights.kernel.data(), weights.bias.as_ref().map(Array::data), sizes)
}

fn check_widths(
    widths: FeatureWidths,
    query: &Array<f64>,
    value: &Array<f64>,
    key: Option<&Array<f64>>,
) -> Result<()> {
    for (name, x, width) in [
        ("query", query, widths.query),
        ("value", value, widths.value),
        ("key", key.unwrap_or(value), widths.key),
    ] {
        if x.shape()[2] != width {
            let expected = format!("of feature width {width}, for which the layer is built");
            return Err(Error::argument(CALL, name, expected, format!("shape {:?}", x.shape())));
        }
    }
    Ok(())
}
