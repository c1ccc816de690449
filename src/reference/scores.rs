use crate::shapes::Dims;
use crate::shapes::{attention_mask_shape, check_sequence_mask};
use crate::{Array, Result};

/// The visibility rule: whether query t of head h in batch element b sees key s. Masks may have any shape that broadcasts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visibility<'a> {
    /// Only keys s ≤ t + `q_offset` are visible.
    pub causal: bool,
    /// Only keys with |t + `q_offset` − s| < `window` are visible.
    pub window: Option<usize>,
    /// Position of the first query among the keys.
    pub q_offset: usize,
    /// `[T,S]`, `[B,T,S]` or `[B,H,T,S]`, any axis 1.
    pub attention_mask: Option<&'a Array<bool>>,
    /// `[B,T]`
    pub query_mask: Option<&'a Array<bool>>,
    /// `[B,S]`
    pub value_mask: Option<&'a Array<bool>>,
    /// `[B,S]`
    pub key_mask: Option<&'a Array<bool>>,
}

impl Visibility<'_> {
    /// Fails if a mask does not broadcast to the dimensions.
    pub(crate) fn check(&self, operation: &'static str, dims: &Dims) -> Result<()> {
        if let Some(mask) = self.attention_mask {
            attention_mask_shape(operation, mask.shape(), dims)?;
        }
        for (name, mask, length) in [
            ("query_mask", self.query_mask, dims.query_len),
            ("value_mask", self.value_mask, dims.key_len),
            ("key_mask", self.key_mask, dims.key_len),
        ] {
            if let Some(mask) = mask {
                check_sequence_mask(operation, name, mask.shape(), [dims.batch, length])?;
            }
        }
        Ok(())
    }

    /// Whether query t of head h in batch element b sees key s.
    pub fn visible(&self, b: usize, h: usize, t: usize, s: usize) -> bool {
        let position = t + self.q_offset;
        let attention = self.attention_mask.is_none_or(|mask| match mask.shape().len() {
            2 => at(mask, &[t, s]),
            3 => at(mask, &[b, t, s]),
            _ => at(mask, &[b, h, t, s]),
        });
        attention
            && (!self.causal || s <= position)
            && self.window.is_none_or(|window| position.abs_diff(s) < window)
            && self.query_mask.is_none_or(|mask| at(mask, &[b, t]))
            && self.value_mask.is_none_or(|mask| at(mask, &[b, s]))
            && self.key_mask.is_none_or(|mask| at(mask, &[b, s]))
    }
}

/// The element at `index`; axes of length 1 broadcast.
fn at(mask: &Array<bool>, index: &[usize]) -> bool {
    let axes = mask.shape().iter().zip(index);
    let flat = axes.fold(0, |flat, (&length, &i)| flat * length + if length == 1 { 0 } else { i });
    mask.data()[flat]
}

/// The score rule: maps a product q·k to the score that the softmax takes.
#[derive(Debug, Clone, Copy)]
pub struct ScoreRule {
    /// The factor of products.
    pub scale: f64,
}

impl ScoreRule {
    /// score = scale · product
    pub fn scaled(scale: f64) -> Self {
        Self { scale }
    }

    /// The rule of the layer: score = product / √D.
    pub fn of_layer(head_dim: usize) -> Self {
        Self::scaled(1.0 / (head_dim as f64).sqrt())
    }

    /// The score of a product.
    pub fn score(&self, product: f64) -> f64 {
        self.scale * product
    }

    /// The gradient of a product, given that of its score.
    pub fn backward(&self, d_score: f64, _product: f64) -> f64 {
        self.scale * d_score
    }
}

/// `scores[b,h,t,s] = score(Σ_d q[b,t,h,d] · k[b,s,h/G,d])` where visible, else −inf, for q `[B,T,H,D]` and k
/// `[B,S,Hkv,D]`.
pub fn scores(q: &Array<f64>, k: &Array<f64>, visibility: &Visibility<'_>, rule: &ScoreRule) -> Array<f64> {
    let (&[b, t, h, d], &[_, s, hkv, _]) = (q.shape(), k.shape()) else { return Array::default() };
    let mut scores = Vec::with_capacity(b * h * t * s);
    for (bi, hi, ti, si) in coordinates([b, h, t, s]) {
        let query = &q.data()[((bi * t + ti) * h + hi) * d..][..d];
        let key = &k.data()[((bi * s + si) * hkv + hi / (h / hkv)) * d..][..d];
        let product = dot(query, key);
        let is_visible = visibility.visible(bi, hi, ti, si);
        scores.push(if is_visible { rule.score(product) } else { f64::NEG_INFINITY });
    }
    let mut scores = scores.into_iter();
    Array::from_fn([b, h, t, s], |_| scores.next().unwrap_or(f64::NAN))
}

/// Σ x · y
pub(super) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Every index of a rank-4 array in row-major order.
pub(super) fn coordinates([b, h, t, s]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..b * h * t * s).map(move |i| (i / (h * t * s), i / (t * s) % h, i / s % t, i % s))
}
