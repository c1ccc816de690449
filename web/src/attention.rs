//! Attention alone, and which probabilities dropout keeps.

use gqa::{AttentionOptions, Dropout, scaled_dot_product_attention};
use js_sys::Promise;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::call::{Arguments, Output};
use crate::error::{promise, to_js};

/// Attention of projected query, key and value.
#[wasm_bindgen]
pub fn attend(arguments: &Arguments) -> Promise {
    let arguments = arguments.clone();
    promise(async move {
        let dropout = (arguments.dropout > 0.0).then(|| Dropout {
            probability: arguments.dropout,
            seed: arguments.seed.unwrap_or(0),
            q_offset: arguments.q_offset,
            batch_offset: arguments.batch_offset,
        });
        let options = AttentionOptions {
            scale: arguments.scale,
            use_causal_mask: arguments.use_causal_mask,
            sliding_window: arguments.sliding_window,
            attention_mask: arguments.attention_mask.as_ref(),
            query_mask: arguments.query_mask.as_ref(),
            key_mask: arguments.key_mask.as_ref(),
            q_offset: arguments.q_offset,
            dropout,
            return_attention_scores: arguments.return_attention_scores,
            path: arguments.path,
        };
        let query = Arguments::need("query", &arguments.query)?;
        let key = Arguments::need("key", &arguments.key)?;
        let value = Arguments::need("value", &arguments.value)?;
        let attended = scaled_dot_product_attention(query, key, value, &options).await.map_err(to_js)?;
        Ok(Output {
            output: Some(attended.output),
            lse: Some(attended.lse),
            scores: attended.attention_scores,
            dropout_seed: dropout.map(|dropout| dropout.seed),
            path: attended.path,
        })
    })
}

/// 1 for each probability of `[B,H,T,S]` that dropout keeps, else 0.
#[wasm_bindgen(js_name = dropoutKeeps)]
pub fn dropout_keeps(b: u32, h: u32, t: u32, s: u32, probability: f64, seed: u64) -> Vec<u8> {
    let dropout = Dropout { probability, seed, q_offset: 0, batch_offset: 0 };
    let mut keeps = Vec::new();
    for b in 0..b {
        for h in 0..h {
            for t in 0..t {
                keeps.extend((0..s).map(|s| u8::from(dropout.keeps(b, h, t, s))));
            }
        }
    }
    keeps
}
