//! The configuration of a layer: every constructor argument of Keras' `GroupQueryAttention`, validated once.
//!
//! Keras' JSON form is read and written by [`crate::keras`].

use crate::{Constraint, DTypePolicy, Error, Initializer, Regularizer, Result};

/// The constructor arguments of the layer, with Keras' names and defaults.
///
/// ```
/// let config = gqa::Config { dropout: 0.1, sliding_window: Some(128), ..gqa::Config::new(64, 8, 2) };
/// assert_eq!(config.group_size(), 4);
/// config.validate()?;
/// # Ok::<(), gqa::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The layer's name.
    pub name: String,
    /// D, the width of each head.
    pub head_dim: usize,
    /// H, how many query heads there are.
    pub num_query_heads: usize,
    /// Hkv, how many key/value heads there are. Divides H.
    pub num_key_value_heads: usize,
    /// The probability of dropping an attention probability in training, in [0, 1).
    pub dropout: f64,
    /// Whether the projections add a bias.
    pub use_bias: bool,
    /// Whether a sigmoid-activated projection of the query multiplies the attention output.
    pub use_gate: bool,
    /// Query t sees keys s with |t − s| < `sliding_window`. `None` sees all.
    pub sliding_window: Option<usize>,
    /// Kept for Keras; this library always takes its fused path where it can.
    pub flash_attention: Option<bool>,
    /// How kernels are initialized.
    pub kernel_initializer: Initializer,
    /// How biases are initialized.
    pub bias_initializer: Initializer,
    /// The penalty on kernels in training.
    pub kernel_regularizer: Option<Regularizer>,
    /// The penalty on biases in training.
    pub bias_regularizer: Option<Regularizer>,
    /// The penalty on the outputs of each projection and of the layer in training.
    pub activity_regularizer: Option<Regularizer>,
    /// What kernels are projected onto after each update in training.
    pub kernel_constraint: Option<Constraint>,
    /// What biases are projected onto after each update in training.
    pub bias_constraint: Option<Constraint>,
    /// The seed of the dropout pattern, if it is fixed.
    pub seed: Option<u64>,
    /// The types of inputs, outputs and variables.
    pub dtype: DTypePolicy,
    /// Whether training updates the layer.
    pub trainable: bool,
}

impl Config {
    /// A layer of this size with Keras' defaults for everything else. Not yet validated.
    pub fn new(head_dim: usize, num_query_heads: usize, num_key_value_heads: usize) -> Self {
        Self {
            name: "group_query_attention".into(),
            head_dim,
            num_query_heads,
            num_key_value_heads,
            dropout: 0.0,
            use_bias: true,
            use_gate: false,
            sliding_window: None,
            flash_attention: None,
            kernel_initializer: Initializer::glorot_uniform(),
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
            seed: None,
            dtype: DTypePolicy::Float32,
            trainable: true,
        }
    }

    /// G = H / Hkv, how many query heads share one key/value head.
    pub fn group_size(&self) -> usize {
        self.num_query_heads / self.num_key_value_heads.max(1)
    }

    /// Fails, naming the argument, where the values don't make a layer.
    pub fn validate(&self) -> Result<()> {
        let refuse = |argument: &str, expected: &str, got: String| {
            Err(Error::argument("Config", argument, expected, got))
        };
        for (argument, value) in [
            ("head_dim", self.head_dim),
            ("num_query_heads", self.num_query_heads),
            ("num_key_value_heads", self.num_key_value_heads),
        ] {
            if value == 0 {
                return refuse(argument, "a positive integer", value.to_string());
            }
        }
        if !self.num_query_heads.is_multiple_of(self.num_key_value_heads) {
            return refuse(
                "num_query_heads",
                &format!("divisible by num_key_value_heads ({})", self.num_key_value_heads),
                self.num_query_heads.to_string(),
            );
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", "in [0, 1)", self.dropout.to_string());
        }
        if self.sliding_window == Some(0) {
            return refuse("sliding_window", "None or a positive integer", "0".into());
        }
        Ok(())
    }

    /// The dropout seed of call number `call` (from 0) of a layer of this configuration, if it has a `seed`.
    pub fn dropout_seed(&self, call: u64) -> Option<u64> {
        self.seed.map(|seed| crate::dropout::call_seed(seed, call))
    }

    /// The shape of the layer's output, which is that of the query: `[B, T, C]`.
    ///
    /// Shapes are checked as [`call`](crate::GroupedQueryAttention::call) checks them. Unlike Keras, widths of query and
    /// value may differ here, as they may in Keras' own `call`.
    pub fn compute_output_shape(
        &self,
        query: &[usize],
        value: &[usize],
        key: Option<&[usize]>,
    ) -> Result<Vec<usize>> {
        self.validate()?;
        crate::shapes::Dims::new("compute_output_shape", self, query, value, key)?;
        Ok(query.to_vec())
    }
}
