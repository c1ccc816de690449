use super::scores::{coordinates, dot};
use super::{AttentionOptions, attention_delta, attention_forward};
use crate::{Array, Result};

/// Results of [`attention_backward`].
#[derive(Debug, Clone)]
pub struct AttentionGradients {
    /// `[B,T,H,D]`
    pub dq: Array<f64>,
    /// `[B,S,Hkv,D]`
    pub dk: Array<f64>,
    /// `[B,S,Hkv,D]`
    pub dv: Array<f64>,
}

/// The gradients of `Σ d_out ∘ out` with respect to q, k and v, where out is [`attention_forward`]'s output: the chain rule
/// through `out = Σ_s kept(p) · v`, `p = softmax(score)` and `score(q·k)`, a pair of query and key at a time.
pub fn attention_backward(
    q: &Array<f64>,
    k: &Array<f64>,
    v: &Array<f64>,
    d_out: &Array<f64>,
    options: &AttentionOptions<'_>,
) -> Result<AttentionGradients> {
    let attended = attention_forward(q, k, v, options)?;
    let delta = attention_delta(d_out, &attended.output);
    let (&[b, t, h, d], &[_, s, hkv, _]) = (q.shape(), k.shape()) else { unreachable!("checked above") };
    let (mut dq, mut dk, mut dv) = (q.map(|_| 0.0), k.map(|_| 0.0), v.map(|_| 0.0));
    for (i, (bi, hi, ti, si)) in coordinates([b, h, t, s]).enumerate() {
        if !options.visibility.visible(bi, hi, ti, si) {
            continue;
        }
        let query = ((bi * t + ti) * h + hi) * d;
        let key = ((bi * s + si) * hkv + hi / (h / hkv)) * d;
        let p = attended.scores.data()[i];
        let kept = match &options.dropout {
            Some(dropout) if dropout.keeps(bi as u32, hi as u32, ti as u32, si as u32) => {
                dropout.keep_scale()
            }
            Some(_) => 0.0,
            None => 1.0,
        };
        let d_row = &d_out.data()[query..query + d];
        let dp: f64 = if kept == 0.0 { 0.0 } else { kept * dot(d_row, &v.data()[key..key + d]) };
        let product = dot(&q.data()[query..query + d], &k.data()[key..key + d]);
        let ds = options.score.backward(p * (dp - delta[(bi * h + hi) * t + ti]), product);
        let add = |to: &mut Array<f64>, at: usize, factor: f64, from: &[f64]| {
            to.data_mut()[at..at + d].iter_mut().zip(from).for_each(|(sum, x)| *sum += factor * x);
        };
        add(&mut dq, query, ds, &k.data()[key..key + d]);
        add(&mut dk, key, ds, &q.data()[query..query + d]);
        if kept != 0.0 {
            add(&mut dv, key, p * kept, d_row);
        }
    }
    Ok(AttentionGradients { dq, dk, dv })
}
