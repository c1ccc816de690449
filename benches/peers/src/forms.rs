//! The forms in which users of burn write grouped-query attention.

use burn::tensor::activation::softmax;
use burn::tensor::module::{attention, attention_fallback};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Device, Tensor};

use crate::rows::Row;

/// Whether `attention` takes k and v of fewer heads than q.
const GROUPS: bool = cfg!(feature = "prerelease");

/// A way to write attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `attention`, which is burn's fused kernel where it has one for the device, on k and v repeated to H heads.
    Attention,
    /// `attention` on k and v as they are.
    AttentionGrouped,
    /// `attention` with the query heads of a group as further queries: q `[B,Hkv,G·T,D]`.
    AttentionFolded,
    /// `attention_fallback`, burn's own composition of separate operations.
    Composed,
    /// matmul, softmax, matmul on k and v repeated to H heads.
    MatmulRepeated,
    /// The same with the query heads of a group as further rows, which repeats nothing.
    MatmulFolded,
    /// The same with the causal mask added, −∞ where it hides, so that its gradient costs nothing.
    MatmulFoldedBias,
    /// `MatmulRepeated` for one key head after another, so that a matrix of scores fits one binding.
    MatmulByHead,
    /// `MatmulFolded` in five axes, where matmul itself broadcasts k and v over the group.
    MatmulBroadcast,
}

const FORMS: [Form; 9] = [
    Form::Attention,
    Form::AttentionGrouped,
    Form::AttentionFolded,
    Form::Composed,
    Form::MatmulRepeated,
    Form::MatmulFolded,
    Form::MatmulFoldedBias,
    Form::MatmulByHead,
    Form::MatmulBroadcast,
];

/// Where all scores together take more bytes than this, they don't fit one binding of every adapter.
const BINDING: usize = 128 << 20;

impl Form {
    /// The forms in which burn computes this row.
    pub fn of(row: &Row) -> Vec<Self> {
        let scores = row.batch * row.query_heads * row.query_len * row.key_len * 4;
        let applies = |form: &Form| match form {
            // The stable release neither groups nor notices.
            Form::AttentionGrouped => GROUPS,
            Form::MatmulFoldedBias => row.training && row.causal,
            Form::MatmulByHead => row.training && scores > BINDING,
            _ => true,
        };
        FORMS.into_iter().filter(applies).collect()
    }

    pub fn name(self) -> &'static str {
        match self {
            Form::Attention => "attention, repeated",
            Form::AttentionGrouped => "attention, grouped",
            Form::AttentionFolded => "attention, folded",
            Form::Composed if GROUPS => "attention_fallback, grouped",
            Form::Composed => "attention_fallback, repeated",
            Form::MatmulRepeated => "matmul, repeated",
            Form::MatmulFolded => "matmul, folded",
            Form::MatmulFoldedBias => "matmul, folded, mask added",
            Form::MatmulByHead => "matmul, repeated, by key head",
            Form::MatmulBroadcast => "matmul, broadcast",
        }
    }
}

/// Attention in one form.
pub struct Attend {
    form: Form,
    row: Row,
    /// True hides: `[1,1,T,S]`, or `[1,1,G·T,S]` for folded queries.
    hidden: Option<Tensor<4, Bool>>,
    /// `[1,1,G·T,S]`
    bias: Option<Tensor<4>>,
}

impl Attend {
    pub fn new(device: &Device, row: &Row, form: Form) -> Self {
        let (t, s) = (row.query_len, row.key_len);
        let folded = [Form::AttentionFolded, Form::MatmulFoldedBias].contains(&form);
        let hidden = row.causal.then(|| {
            let hidden = Tensor::<2, Bool>::tril_mask([t, s], 0, device).reshape([1, 1, t, s]);
            Tensor::cat(vec![hidden; if folded { row.group_size() } else { 1 }], 2)
        });
        let bias = match form {
            Form::MatmulFoldedBias => hidden
                .clone()
                .map(|hidden| Tensor::zeros(hidden.dims(), device).mask_fill(hidden, f32::NEG_INFINITY)),
            _ => None,
        };
        Self { form, row: *row, hidden, bias }
    }

    pub fn form(&self) -> Form {
        self.form
    }

    /// q `[B,H,T,D]`, k and v `[B,Hkv,S,D]` → `[B,H,T,D]`
    pub fn apply(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        let Row { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d, .. } =
            self.row;
        let g = self.row.group_size();
        let options = AttentionModuleOptions { is_causal: self.row.causal, ..Default::default() };
        match self.form {
            Form::Attention => attention(q, self.repeat(k), self.repeat(v), None, None, options),
            Form::AttentionGrouped => attention(q, k, v, None, None, options),
            Form::AttentionFolded => {
                let hidden = self.hidden.clone().map(|hidden| hidden.expand([b, hkv, g * t, s]));
                let q = q.reshape([b, hkv, g * t, d]);
                attention(q, k, v, hidden, None, Default::default()).reshape([b, h, t, d])
            }
            Form::Composed if GROUPS => attention_fallback(q, k, v, None, None, options),
            Form::Composed => attention_fallback(q, self.repeat(k), self.repeat(v), None, None, options),
            Form::MatmulRepeated => {
                let probs = self.probs(self.scaled(q).matmul(self.repeat(k).transpose()));
                probs.matmul(self.repeat(v))
            }
            Form::MatmulFolded => {
                let scores = self.scaled(q).reshape([b, hkv, g * t, d]).matmul(k.transpose());
                let probs = self.probs(scores.reshape([b, h, t, s]));
                probs.reshape([b, hkv, g * t, s]).matmul(v).reshape([b, h, t, d])
            }
            Form::MatmulFoldedBias => {
                let scores = self.scaled(q).reshape([b, hkv, g * t, d]).matmul(k.transpose());
                let scores = match &self.bias {
                    Some(bias) => scores + bias.clone(),
                    None => scores,
                };
                softmax(scores, 3).matmul(v).reshape([b, h, t, d])
            }
            Form::MatmulByHead => {
                let one = |head: usize| {
                    let q = q.clone().narrow(1, head * g, g);
                    let of_head = |x: &Tensor<4>| x.clone().narrow(1, head, 1).expand([b, g, s, d]);
                    let probs = self.probs(self.scaled(q).matmul(of_head(&k).transpose()));
                    probs.matmul(of_head(&v))
                };
                Tensor::cat((0..hkv).map(one).collect(), 1)
            }
            Form::MatmulBroadcast => {
                let q = self.scaled(q).reshape([b, hkv, g, t, d]);
                let (k, v) = (k.unsqueeze_dim::<5>(2), v.unsqueeze_dim::<5>(2));
                let probs = self.probs(q.matmul(k.transpose()).reshape([b, h, t, s]));
                probs.reshape([b, hkv, g, t, s]).matmul(v).reshape([b, h, t, d])
            }
        }
    }

    /// `[B,Hkv,S,D]` → `[B,H,S,D]`, a copy.
    fn repeat(&self, heads: Tensor<4>) -> Tensor<4> {
        let Row { batch: b, key_len: s, query_heads: h, key_heads: hkv, head_dim: d, .. } = self.row;
        heads.unsqueeze_dim::<5>(2).expand([b, hkv, self.row.group_size(), s, d]).reshape([b, h, s, d])
    }

    fn scaled(&self, q: Tensor<4>) -> Tensor<4> {
        q.mul_scalar(1.0 / (self.row.head_dim as f64).sqrt())
    }

    /// Scores `[B,H,T,S]` → probabilities.
    fn probs(&self, scores: Tensor<4>) -> Tensor<4> {
        let scores = match &self.hidden {
            Some(hidden) => {
                let shape = scores.dims();
                scores.mask_fill(hidden.clone().expand(shape), f32::NEG_INFINITY)
            }
            None => scores,
        };
        softmax(scores, 3)
    }
}
