use super::scores::coordinates;
use crate::Array;

/// `delta[b,h,t] = Σ_d d_out[b,t,h,d] · out[b,t,h,d]` for d_out and out `[B,T,H,D]`; `[B,H,T]` flattened.
pub fn attention_delta(d_out: &Array<f64>, out: &Array<f64>) -> Vec<f64> {
    let &[b, t, h, d] = out.shape() else { return Vec::new() };
    let row = |bi: usize, hi: usize, ti: usize| ((bi * t + ti) * h + hi) * d;
    coordinates([b, h, t, 1])
        .map(|(bi, hi, ti, _)| {
            let range = row(bi, hi, ti)..row(bi, hi, ti) + d;
            d_out.data()[range.clone()].iter().zip(&out.data()[range]).map(|(x, y)| x * y).sum()
        })
        .collect()
}
