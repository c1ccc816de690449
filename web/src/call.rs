//! The arguments of a call of the layer or of attention alone, and what comes out.

use gqa::{AttentionPath, CallOptions};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::argument;
use crate::tensor::Tensor;

/// Tensors and options by name. A call takes what it knows; `index.js` has refused what it doesn't.
#[wasm_bindgen]
#[derive(Clone, Default)]
pub struct Arguments {
    pub(crate) query: Option<gqa::Tensor>,
    pub(crate) key: Option<gqa::Tensor>,
    pub(crate) value: Option<gqa::Tensor>,
    pub(crate) attention_mask: Option<gqa::Tensor>,
    pub(crate) query_mask: Option<gqa::Tensor>,
    pub(crate) value_mask: Option<gqa::Tensor>,
    pub(crate) key_mask: Option<gqa::Tensor>,
    pub(crate) use_causal_mask: bool,
    pub(crate) return_attention_scores: bool,
    pub(crate) training: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) q_offset: u32,
    pub(crate) batch_offset: u32,
    pub(crate) path: Option<AttentionPath>,
    pub(crate) scale: Option<f32>,
    pub(crate) sliding_window: Option<usize>,
    pub(crate) dropout: f64,
}

#[wasm_bindgen]
impl Arguments {
    /// No tensors, and the options of plain attention.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a tensor.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> Result<(), JsValue> {
        let place = match name {
            "query" => &mut self.query,
            "key" => &mut self.key,
            "value" => &mut self.value,
            "attentionMask" => &mut self.attention_mask,
            "queryMask" => &mut self.query_mask,
            "valueMask" => &mut self.value_mask,
            "keyMask" => &mut self.key_mask,
            other => return Err(argument("inputs", "made of known tensors", &format!("`{other}`"))),
        };
        *place = Some(tensor.0.clone());
        Ok(())
    }

    /// Sets a switch.
    pub fn flag(&mut self, name: &str, on: bool) -> Result<(), JsValue> {
        match name {
            "useCausalMask" => self.use_causal_mask = on,
            "returnAttentionScores" => self.return_attention_scores = on,
            "training" => self.training = on,
            other => return Err(argument("options", "known switches", &format!("`{other}`"))),
        }
        Ok(())
    }

    /// Sets the seed of the dropout pattern.
    pub fn seed(&mut self, seed: u64) {
        self.seed = Some(seed);
    }

    /// Sets a number, which is whole and not negative where it has to be.
    pub fn number(&mut self, name: &str, value: f64) -> Result<(), JsValue> {
        match name {
            "qOffset" => self.q_offset = value as u32,
            "batchOffset" => self.batch_offset = value as u32,
            "slidingWindow" => self.sliding_window = Some(value as usize),
            "scale" => self.scale = Some(value as f32),
            "dropout" => self.dropout = value,
            other => return Err(argument("options", "known numbers", &format!("`{other}`"))),
        }
        Ok(())
    }

    /// Sets the way to take.
    pub fn path(&mut self, path: &str) -> Result<(), JsValue> {
        self.path = Some(match path {
            "fused" => AttentionPath::Fused,
            "chained" => AttentionPath::Chained,
            other => return Err(argument("path", "fused or chained", &format!("`{other}`"))),
        });
        Ok(())
    }
}

impl Arguments {
    /// A tensor that there has to be.
    pub(crate) fn need<'a>(name: &str, tensor: &'a Option<gqa::Tensor>) -> Result<&'a gqa::Tensor, JsValue> {
        tensor.as_ref().ok_or_else(|| argument(name, "given", "nothing"))
    }

    pub(crate) fn options(&self) -> CallOptions<'_> {
        CallOptions {
            key: self.key.as_ref(),
            attention_mask: self.attention_mask.as_ref(),
            query_mask: self.query_mask.as_ref(),
            value_mask: self.value_mask.as_ref(),
            key_mask: self.key_mask.as_ref(),
            use_causal_mask: self.use_causal_mask,
            return_attention_scores: self.return_attention_scores,
            training: self.training,
            seed: self.seed,
            q_offset: self.q_offset,
            path: self.path,
            batch_offset: self.batch_offset,
        }
    }
}

/// What a call returns; each tensor is taken out once.
#[wasm_bindgen]
pub struct Output {
    pub(crate) output: Option<gqa::Tensor>,
    pub(crate) lse: Option<gqa::Tensor>,
    pub(crate) scores: Option<gqa::Tensor>,
    pub(crate) dropout_seed: Option<u64>,
    pub(crate) path: AttentionPath,
}

#[wasm_bindgen]
impl Output {
    /// Takes `output`, `lse` or `scores` out, if it is there.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        let place = match name {
            "output" => &mut self.output,
            "lse" => &mut self.lse,
            _ => &mut self.scores,
        };
        place.take().map(Tensor)
    }

    /// The seed of the dropout pattern, if anything was dropped.
    #[wasm_bindgen(getter, js_name = dropoutSeed)]
    pub fn dropout_seed(&self) -> Option<u64> {
        self.dropout_seed
    }

    /// The way that was taken.
    #[wasm_bindgen(getter)]
    pub fn path(&self) -> String {
        match self.path {
            AttentionPath::Fused => "fused".into(),
            AttentionPath::Chained => "chained".into(),
        }
    }
}
