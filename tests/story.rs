//! A real language model with grouped-query attention (8 query heads, 4 key/value heads) tells its story: everything but
//! attention runs on the host.
//!
//! The model is not part of the repository: `GQA_STORIES260K` names the folder that has `stories260K.bin` and `tok512.bin`,
//! in the format of llama2.c. Without it the test says so and does nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::gpu;
use gqa::{AttentionOptions, Tensor, scaled_dot_product_attention};
use pollster::block_on;

const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she \
                     saw a big, red ball. She wanted to play with it, but it was too high.";

/// The weights, in the order of the file; each `[out, in]` row-major.
struct Model {
    dim: usize,
    heads: usize,
    key_heads: usize,
    embedding: Vec<f32>,
    attention_norm: Vec<Vec<f32>>,
    wq: Vec<Vec<f32>>,
    wk: Vec<Vec<f32>>,
    wv: Vec<Vec<f32>>,
    wo: Vec<Vec<f32>>,
    ffn_norm: Vec<Vec<f32>>,
    w1: Vec<Vec<f32>>,
    w2: Vec<Vec<f32>>,
    w3: Vec<Vec<f32>>,
    final_norm: Vec<f32>,
}

impl Model {
    fn load(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let header: Vec<usize> =
            bytes[..28].chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()) as usize).collect();
        let &[dim, hidden, layers, heads, key_heads, vocabulary, _] = &header[..] else {
            panic!("{header:?}")
        };
        let mut floats = bytes[28..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let mut take = |count: usize| floats.by_ref().take(count).collect::<Vec<f32>>();
        let embedding = take(vocabulary * dim);
        let mut per_layer = |count: usize| (0..layers).map(|_| take(count)).collect::<Vec<_>>();
        let kv = dim / heads * key_heads;
        let mut model = Self {
            dim,
            heads,
            key_heads,
            embedding,
            attention_norm: per_layer(dim),
            wq: per_layer(dim * dim),
            wk: per_layer(kv * dim),
            wv: per_layer(kv * dim),
            wo: per_layer(dim * dim),
            ffn_norm: per_layer(dim),
            w1: per_layer(hidden * dim),
            w2: per_layer(dim * hidden),
            w3: per_layer(hidden * dim),
            final_norm: Vec::new(),
        };
        model.final_norm = take(dim);
        model
    }

    /// The logits behind each token; `cache` has keys and values of what came before, per layer, and gains those of `tokens`.
    fn forward(&self, tokens: &[usize], cache: &mut [[Vec<f32>; 2]]) -> Vec<Vec<f32>> {
        let (d, kv) = (self.dim / self.heads, self.dim / self.heads * self.key_heads);
        let start = cache[0][0].len() / kv;
        let mut x: Vec<Vec<f32>> =
            tokens.iter().map(|t| self.embedding[t * self.dim..][..self.dim].to_vec()).collect();
        for (layer, [keys, values]) in cache.iter_mut().enumerate() {
            let mut queries = Vec::new();
            for (i, x) in x.iter().enumerate() {
                let normed = rms_norm(x, &self.attention_norm[layer]);
                queries.extend(rotate(product(&self.wq[layer], &normed), d, start + i));
                keys.extend(rotate(product(&self.wk[layer], &normed), d, start + i));
                values.extend(product(&self.wv[layer], &normed));
            }
            let attended = self.attend(&queries, keys, values, start);
            for (x, attended) in x.iter_mut().zip(attended.chunks(self.dim)) {
                add(x, &product(&self.wo[layer], attended));
                let normed = rms_norm(x, &self.ffn_norm[layer]);
                let up = product(&self.w3[layer], &normed);
                let gate = product(&self.w1[layer], &normed);
                let hidden: Vec<_> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                add(x, &product(&self.w2[layer], &hidden));
            }
        }
        x.iter().map(|x| product(&self.embedding, &rms_norm(x, &self.final_norm))).collect()
    }

    /// Causal attention of queries that begin at position `start`, on the adapter under test.
    fn attend(&self, queries: &[f32], keys: &[f32], values: &[f32], start: usize) -> Vec<f32> {
        let d = self.dim / self.heads;
        let tensor = |heads: usize, data: &[f32]| {
            block_on(Tensor::from_slice(gpu(), [1, data.len() / (heads * d), heads, d], data)).unwrap()
        };
        let (q, k, v) =
            (tensor(self.heads, queries), tensor(self.key_heads, keys), tensor(self.key_heads, values));
        let options =
            AttentionOptions { use_causal_mask: true, q_offset: start as u32, ..Default::default() };
        let attention = block_on(scaled_dot_product_attention(&q, &k, &v, &options)).unwrap();
        block_on(attention.output.to_vec()).unwrap()
    }
}

/// weights `[out, in]` · x `[in]`
fn product(weights: &[f32], x: &[f32]) -> Vec<f32> {
    weights.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn rms_norm(x: &[f32], weight: &[f32]) -> Vec<f32> {
    let mean: f32 = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    x.iter().zip(weight).map(|(x, w)| x * w / (mean + 1e-5).sqrt()).collect()
}

/// Rotary embedding on interleaved pairs of each head of width `d`.
fn rotate(mut x: Vec<f32>, d: usize, position: usize) -> Vec<f32> {
    for (i, pair) in x.chunks_mut(2).enumerate() {
        let angle = position as f32 / 10_000f32.powf((2 * i % d) as f32 / d as f32);
        let (sin, cos) = angle.sin_cos();
        (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
    }
    x
}

/// The text of each token: i32 longest, then per token f32 score, i32 length, bytes.
fn vocabulary(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut tokens) = (&bytes[4..], Vec::new());
    while rest.len() >= 8 {
        let length = i32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        tokens.push(String::from_utf8_lossy(&rest[8..8 + length]).into_owned());
        rest = &rest[8 + length..];
    }
    tokens
}

#[test]
fn a_real_model_tells_its_story_token_by_token_and_all_at_once() {
    let Some(folder) = std::env::var_os("GQA_STORIES260K").map(PathBuf::from) else {
        eprintln!("skipped: GQA_STORIES260K does not name the folder of the model");
        return;
    };
    let model = Model::load(&folder.join("stories260K.bin"));
    let words = vocabulary(&folder.join("tok512.bin"));
    let empty = || vec![[Vec::new(), Vec::new()]; model.wq.len()];
    let best =
        |logits: &Vec<f32>| (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();

    // Decoding: one query over all keys so far.
    let (mut tokens, mut cache, mut text) = (vec![1], empty(), String::new());
    while text.trim_start().len() < STORY.len() {
        let next = best(&model.forward(&tokens[tokens.len() - 1..], &mut cache)[0]);
        text += &words[next];
        tokens.push(next);
        assert!(tokens.len() < 200, "{text}");
    }
    assert_eq!(text.trim_start(), STORY);

    // Prefill: every query at once, each predicting the token that follows it.
    let logits = model.forward(&tokens[..tokens.len() - 1], &mut empty());
    let predicted: Vec<_> = logits.iter().map(best).collect();
    assert_eq!(predicted, tokens[1..]);
}
