//! Random inputs of a row, the same for every contender.

use gqa::{Array, Config, FeatureWidths, Projection, Weights};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::rows::Row;

/// The inputs of a row.
pub enum Problem {
    Attention(Heads),
    Layer(Layer),
}

/// Inputs of attention alone.
pub struct Heads {
    /// `[B,T,H,D]`
    pub q: Array,
    /// `[B,S,Hkv,D]`
    pub k: Array,
    /// `[B,S,Hkv,D]`
    pub v: Array,
    /// `[B,T,H,D]`, the gradient of the output.
    pub d_out: Array,
}

/// A layer attending to its own input.
pub struct Layer {
    /// `[B,T,C]`
    pub x: Array,
    pub config: Config,
    pub weights: Weights,
    /// `[B,T,C]`, the gradient of the output.
    pub d_output: Array,
}

impl Problem {
    pub fn new(row: &Row) -> gqa::Result<Self> {
        let random = &mut StdRng::seed_from_u64(7);
        let Row { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d, .. } =
            *row;
        let Some(c) = row.width else {
            return Ok(Self::Attention(Heads {
                q: uniform(random, vec![b, t, h, d]),
                k: uniform(random, vec![b, s, hkv, d]),
                v: uniform(random, vec![b, s, hkv, d]),
                d_out: uniform(random, vec![b, t, h, d]),
            }));
        };
        let config = Config::new(d, h, hkv);
        let mut weights = Weights::initialize(&config, FeatureWidths::all(c), 7)?;
        let Weights { query, key, value, attention_output, .. } = &mut weights;
        for Projection { bias, .. } in [query, key, value, attention_output] {
            // Initialized to zeros, which would hide a bias that is not added.
            *bias = bias.as_ref().map(|bias| uniform(random, bias.shape().to_vec()));
        }
        let x = uniform(random, vec![b, t, c]);
        let d_output = uniform(random, vec![b, t, c]);
        Ok(Self::Layer(Layer { x, config, weights, d_output }))
    }
}

fn uniform(random: &mut StdRng, shape: Vec<usize>) -> Array {
    Array::from_fn(shape, |_| random.random_range(-1.0..1.0))
}
