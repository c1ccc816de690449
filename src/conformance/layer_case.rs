//! One call of a layer with made-up numbers.

use crate::{
    Array, AttentionPath, CallOptions, CallOutput, Config, DType, FeatureWidths, Gpu, GroupedQueryAttention,
    Result, Tensor, Weights, philox4x32_10, reference, weight_specs,
};

/// Values in [−1, 1) that follow from their index.
pub fn values(shape: &[usize], seed: u32) -> Array {
    Array::from_fn(shape, |i| philox4x32_10([i as u32, seed, 0, 0], [3, 4])[0] as f32 / 2_147_483_648.0 - 1.0)
}

/// Booleans, about two of three true.
pub fn bools(shape: &[usize], seed: u32) -> Array<bool> {
    values(shape, seed).map(|&x| x > -0.3)
}

/// One call of a layer: everything that the GPU and the reference need. Numbers follow from `seed`.
#[derive(Debug, Clone)]
pub struct LayerCase {
    /// The layer.
    pub config: Config,
    /// C, Ck and Cv.
    pub widths: FeatureWidths,
    /// B, T, S
    pub sizes: [usize; 3],
    /// The type of the inputs.
    pub inputs: DType,
    /// Whether the key is given, or is the value.
    pub with_key: bool,
    /// `use_causal_mask`
    pub causal: bool,
    /// The shape of `attention_mask`.
    pub attention_mask: Option<Vec<usize>>,
    /// Whether there are `query_mask`, `value_mask`, `key_mask`.
    pub masks: [bool; 3],
    /// Whether, and by which pattern, the layer's `dropout` drops.
    pub dropout_seed: Option<u64>,
    /// Position of the first query.
    pub q_offset: u32,
    /// Position of the first batch element.
    pub batch_offset: u32,
    /// The way to take on the GPU.
    pub path: AttentionPath,
    /// What inputs and weights follow from.
    pub seed: u32,
}

/// The host arrays of a [`LayerCase`].
#[derive(Debug, Clone)]
pub struct LayerData {
    /// `[B,T,C]`
    pub query: Array,
    /// `[B,S,Cv]`
    pub value: Array,
    /// `[B,S,Ck]`
    pub key: Option<Array>,
    /// Of the case's own shape.
    pub attention_mask: Option<Array<bool>>,
    /// `[B,T]`
    pub query_mask: Option<Array<bool>>,
    /// `[B,S]`
    pub value_mask: Option<Array<bool>>,
    /// `[B,S]`
    pub key_mask: Option<Array<bool>>,
}

impl LayerCase {
    /// A plain call: `width` features throughout, and sizes B, T, S.
    pub fn new(config: Config, width: usize, sizes: [usize; 3]) -> Self {
        Self {
            config,
            widths: FeatureWidths::all(width),
            sizes,
            inputs: DType::F32,
            with_key: false,
            causal: false,
            attention_mask: None,
            masks: [false; 3],
            dropout_seed: None,
            q_offset: 0,
            batch_offset: 0,
            path: AttentionPath::Chained,
            seed: 1,
        }
    }

    /// Weights that keep activations near 1, with biases that are not 0. Fails where there is no such layer.
    pub fn draw_weights(&self) -> Result<Weights> {
        let specs = weight_specs(&self.config, self.widths);
        Weights::from_named("LayerCase", &self.config, |name| {
            let found = specs.iter().enumerate().find(|(_, spec)| spec.name() == name);
            Ok(found.map(|(index, spec)| {
                let fan_in: usize = match spec.projection {
                    "attention_output" => spec.shape[..spec.shape.len() - 1].iter().product(),
                    _ => spec.shape[0],
                };
                let scale = if spec.variable == "kernel" { (3.0 / fan_in as f32).sqrt() } else { 0.5 };
                values(&spec.shape, self.seed * 100 + index as u32).map(|x| x * scale)
            }))
        })
    }

    /// The weights as the policy keeps them. Fails where there is no such layer.
    pub fn rounded_weights(&self) -> Result<Weights> {
        let dtype = self.config.dtype.variable_dtype();
        Ok(self.draw_weights()?.map(|weight| weight.map(|&x| dtype.round(x))))
    }

    /// Inputs, as the type of the inputs holds them.
    pub fn data(&self) -> LayerData {
        let [b, t, s] = self.sizes;
        let seed = self.seed * 100;
        let round = |array: Array| array.map(|&x| self.inputs.round(x));
        let mask = |on: bool, length: usize, seed: u32| on.then(|| bools(&[b, length], seed));
        LayerData {
            query: round(values(&[b, t, self.widths.query], seed + 50)),
            value: round(values(&[b, s, self.widths.value], seed + 51)),
            key: self.with_key.then(|| round(values(&[b, s, self.widths.key], seed + 52))),
            attention_mask: self.attention_mask.as_ref().map(|shape| bools(shape, seed + 53)),
            query_mask: mask(self.masks[0], t, seed + 54),
            value_mask: mask(self.masks[1], s, seed + 55),
            key_mask: mask(self.masks[2], s, seed + 56),
        }
    }

    /// The layer on a GPU.
    pub async fn build(&self, gpu: &Gpu) -> Result<GroupedQueryAttention> {
        GroupedQueryAttention::from_weights(gpu, self.config.clone(), &self.draw_weights()?).await
    }

    /// Runs the layer on its GPU, by the case's path: output, and scores where the path gives them.
    pub async fn call(&self, layer: &GroupedQueryAttention, data: &LayerData) -> Result<CallOutput> {
        let inputs = Inputs::upload(layer.gpu(), self, data).await?;
        let scores = self.path == AttentionPath::Chained;
        layer.call(&inputs.query, &inputs.value, &inputs.options(self, scores)).await
    }

    /// Runs the reference.
    pub fn call_reference(&self, data: &LayerData) -> Result<reference::CallOutput> {
        let key = data.key.as_ref().map(Array::to_f64);
        let options = self.reference_options(data, key.as_ref());
        let weights = self.draw_weights()?.map(Array::to_f64);
        reference::call(&self.config, &weights, &data.query.to_f64(), &data.value.to_f64(), &options)
    }

    /// The options of the reference; `key` is the key of `data` in f64.
    pub fn reference_options<'a>(
        &self,
        data: &'a LayerData,
        key: Option<&'a Array<f64>>,
    ) -> reference::CallOptions<'a> {
        reference::CallOptions {
            key,
            attention_mask: data.attention_mask.as_ref(),
            query_mask: data.query_mask.as_ref(),
            value_mask: data.value_mask.as_ref(),
            key_mask: data.key_mask.as_ref(),
            use_causal_mask: self.causal,
            dropout_seed: self.dropout_seed,
            q_offset: self.q_offset,
            batch_offset: self.batch_offset,
        }
    }
}

/// The tensors of a [`LayerCase`].
#[derive(Debug)]
pub struct Inputs {
    /// `[B,T,C]`
    pub query: Tensor,
    /// `[B,S,Cv]`
    pub value: Tensor,
    key: Option<Tensor>,
    attention_mask: Option<Tensor>,
    query_mask: Option<Tensor>,
    value_mask: Option<Tensor>,
    key_mask: Option<Tensor>,
}

impl Inputs {
    /// Copies the data of a case to a GPU.
    pub async fn upload(gpu: &Gpu, case: &LayerCase, data: &LayerData) -> Result<Self> {
        let float = async |array: &Array| Tensor::from_array(gpu, array, case.inputs).await;
        let mask = async |mask: &Option<Array<bool>>| match mask {
            Some(mask) => Tensor::from_mask(gpu, mask).await.map(Some),
            None => Ok(None),
        };
        Ok(Self {
            query: float(&data.query).await?,
            value: float(&data.value).await?,
            key: match &data.key {
                Some(key) => Some(float(key).await?),
                None => None,
            },
            attention_mask: mask(&data.attention_mask).await?,
            query_mask: mask(&data.query_mask).await?,
            value_mask: mask(&data.value_mask).await?,
            key_mask: mask(&data.key_mask).await?,
        })
    }

    /// The options of the case's call.
    pub fn options(&self, case: &LayerCase, return_attention_scores: bool) -> CallOptions<'_> {
        CallOptions {
            key: self.key.as_ref(),
            attention_mask: self.attention_mask.as_ref(),
            query_mask: self.query_mask.as_ref(),
            value_mask: self.value_mask.as_ref(),
            key_mask: self.key_mask.as_ref(),
            use_causal_mask: case.causal,
            return_attention_scores,
            training: case.dropout_seed.is_some(),
            seed: case.dropout_seed,
            q_offset: case.q_offset,
            batch_offset: case.batch_offset,
            path: Some(case.path),
        }
    }
}
