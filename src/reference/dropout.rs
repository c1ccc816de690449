use super::scores::coordinates;
use crate::{Array, Dropout};

/// Probabilities `[B,H,T,S]` after dropout: dropped ones are 0, the others are scaled by 1 / (1 − probability).
pub fn dropout(probs: &Array<f64>, dropout: &Dropout) -> Array<f64> {
    let &[b, h, t, s] = probs.shape() else { return Array::default() };
    let mut dropped = probs.clone();
    for ((bi, hi, ti, si), p) in coordinates([b, h, t, s]).zip(dropped.data_mut()) {
        let kept = dropout.keeps(bi as u32, hi as u32, ti as u32, si as u32);
        *p = if kept { *p * dropout.keep_scale() } else { 0.0 };
    }
    dropped
}
