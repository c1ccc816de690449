use super::{ScoreRule, Visibility, dropout, scores, softmax, weighted_values};
use crate::shapes::Dims;
use crate::{Array, Dropout, Result};

const OPERATION: &str = "reference::attention_forward";

/// The options of [`attention_forward`].
#[derive(Debug, Clone, Copy)]
pub struct AttentionOptions<'a> {
    /// The score rule.
    pub score: ScoreRule,
    /// The visibility rule.
    pub visibility: Visibility<'a>,
    /// The dropout rule.
    pub dropout: Option<Dropout>,
}

/// Results of [`attention_forward`].
#[derive(Debug, Clone)]
pub struct Attention {
    /// `[B,T,H,D]`
    pub output: Array<f64>,
    /// Probabilities before dropout, `[B,H,T,S]`.
    pub scores: Array<f64>,
    /// ln Σ exp(score), `[B,H,T]` flattened.
    pub lse: Vec<f64>,
}

/// Attention alone, for q `[B,T,H,D]`, k and v `[B,S,Hkv,D]`, unfused.
pub fn attention_forward(
    q: &Array<f64>,
    k: &Array<f64>,
    v: &Array<f64>,
    options: &AttentionOptions<'_>,
) -> Result<Attention> {
    let dims = Dims::of_heads(OPERATION, q.shape(), k.shape(), v.shape())?;
    options.visibility.check(OPERATION, &dims)?;
    if let Some(dropout) = &options.dropout {
        dropout.check(OPERATION)?;
    }
    let (probs, lse) = softmax(&scores(q, k, &options.visibility, &options.score));
    let output = match &options.dropout {
        Some(dropped) => weighted_values(&dropout(&probs, dropped), v),
        None => weighted_values(&probs, v),
    };
    Ok(Attention { output, scores: probs, lse })
}
