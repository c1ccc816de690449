use crate::Array;

/// Whether each key of each key/value head has a non-finite value: v `[B,S,Hkv,D]` → `[B,Hkv,S]`.
pub fn nonfinite_keys(v: &Array<f64>) -> Array<bool> {
    let &[b, s, hkv, d] = v.shape() else { return Array::default() };
    Array::from_fn([b, hkv, s], |i| {
        let (bi, head, key) = (i / (hkv * s), i / s % hkv, i % s);
        v.data()[((bi * s + key) * hkv + head) * d..][..d].iter().any(|x| !x.is_finite())
    })
}
