use crate::Array;

/// `out[b,t,h,d] = Σ_s probs[b,h,t,s] · v[b,s,h/G,d]` for probs `[B,H,T,S]` and v `[B,S,Hkv,D]`. A probability of 0 adds
/// nothing, even if the value is non-finite.
pub fn weighted_values(probs: &Array<f64>, v: &Array<f64>) -> Array<f64> {
    let (&[b, h, t, s], &[_, _, hkv, d]) = (probs.shape(), v.shape()) else { return Array::default() };
    let mut out = Array::from_fn([b, t, h, d], |_| 0.0);
    for bi in 0..b {
        for ti in 0..t {
            for hi in 0..h {
                let sums = &mut out.data_mut()[((bi * t + ti) * h + hi) * d..][..d];
                let row = &probs.data()[((bi * h + hi) * t + ti) * s..][..s];
                for (si, &p) in row.iter().enumerate().filter(|(_, p)| **p != 0.0) {
                    let value = &v.data()[((bi * s + si) * hkv + hi / (h / hkv)) * d..][..d];
                    sums.iter_mut().zip(value).for_each(|(sum, value)| *sum += p * value);
                }
            }
        }
    }
    out
}
