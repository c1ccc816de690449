use super::{AttentionOptions, Visibility, attention_forward, cast, gated_linear, linear};
use crate::shapes::Dims;
use crate::{Array, Config, Dropout, Error, FeatureWidths, Projection, Result, Weights};

const CALL: &str = "reference::call";

/// The options of [`call`], as those of the GPU's [`call`](crate::GroupedQueryAttention::call).
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions<'a> {
    /// `[B,S,Ck]`. `None` takes value for key too.
    pub key: Option<&'a Array<f64>>,
    /// `[T,S]`, `[B,T,S]` or `[B,H,T,S]`; any axis may be 1.
    pub attention_mask: Option<&'a Array<bool>>,
    /// `[B,T]`
    pub query_mask: Option<&'a Array<bool>>,
    /// `[B,S]`
    pub value_mask: Option<&'a Array<bool>>,
    /// `[B,S]`
    pub key_mask: Option<&'a Array<bool>>,
    /// Query t sees keys s ≤ t + `q_offset` only.
    pub use_causal_mask: bool,
    /// Drops probabilities with the config's `dropout` and this seed; `None` drops nothing.
    pub dropout_seed: Option<u64>,
    /// Position of the first query among the keys.
    pub q_offset: u32,
    /// Position of the first batch element in its batch.
    pub batch_offset: u32,
}

/// What [`call`] returns.
#[derive(Debug, Clone)]
pub struct CallOutput {
    /// `[B,T,C]`
    pub attention_output: Array<f64>,
    /// Probabilities before dropout, `[B,H,T,S]`.
    pub attention_scores: Array<f64>,
    /// ln Σ exp(score), `[B,H,T]` flattened.
    pub lse: Vec<f64>,
}

/// The layer on query `[B,T,C]` and value `[B,S,Cv]`. Inputs and weights are rounded to the policy's types, everything
/// between is f64.
pub fn call(
    config: &Config,
    weights: &Weights<Array<f64>>,
    query: &Array<f64>,
    value: &Array<f64>,
    options: &CallOptions<'_>,
) -> Result<CallOutput> {
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
    let weights = weights.map(round);
    let query = round(query);
    let key = round(options.key.unwrap_or(value));
    let value = round(value);

    let q = project(&weights.query, &query, [b * t, widths.query, h * d]);
    let k = project(&weights.key, &key, [b * s, widths.key, hkv * d]);
    let v = project(&weights.value, &value, [b * s, widths.value, hkv * d]);
    let attention_options = AttentionOptions {
        scale: 1.0 / (d as f64).sqrt(),
        visibility,
        dropout: options.dropout_seed.filter(|_| config.dropout > 0.0).map(|seed| Dropout {
            probability: config.dropout,
            seed,
            q_offset: options.q_offset,
            batch_offset: options.batch_offset,
        }),
    };
    let attended = attention_forward(
        &Array::new([b, t, h, d], q)?,
        &Array::new([b, s, hkv, d], k)?,
        &Array::new([b, s, hkv, d], v)?,
        &attention_options,
    )?;
    let mut out = attended.output;
    if let Some(gate) = &weights.gate {
        let bias = gate.bias.as_ref().map(Array::data);
        let sizes = [b * t, widths.query, h * d];
        let gated = gated_linear(query.data(), gate.kernel.data(), bias, out.data(), sizes);
        out = Array::new([b, t, h, d], gated)?;
    }
    let output = project(&weights.attention_output, &out, [b * t, h * d, widths.query]);
    Ok(CallOutput {
        attention_output: Array::new([b, t, widths.query], output)?,
        attention_scores: attended.scores,
        lse: attended.lse,
    })
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
