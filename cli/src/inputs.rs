//! `--inputs`: the tensors of a call, and what training adds.

use std::path::Path;

use anyhow::{Context as _, Result};
use gqa::keras::read_tensors;
use gqa::{Array, CallOptions, DType, Gpu, Tensor, reference};

use crate::files;

/// Tensors that only training has a use for.
const OF_TRAINING: [&str; 2] = ["output_gradient", "target"];

/// What `--inputs` has.
pub(crate) struct Inputs {
    pub(crate) query: (Array, DType),
    pub(crate) value: (Array, DType),
    pub(crate) key: Option<(Array, DType)>,
    /// attention_mask, query_mask, value_mask, key_mask
    masks: [Option<Array<bool>>; 4],
    /// output_gradient, target
    of_training: [Option<Array>; 2],
}

const FLOATS: [&str; 3] = ["query", "value", "key"];
const MASKS: [&str; 4] = ["attention_mask", "query_mask", "value_mask", "key_mask"];

impl Inputs {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read(path)?).with_context(|| path.display().to_string())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let tensors = read_tensors(bytes)?;
        let found: Vec<_> = tensors.iter().map(|tensor| tensor.name.clone()).collect();
        let mut floats = [None, None, None];
        let mut masks = [None, None, None, None];
        let mut of_training = [None, None];
        for tensor in tensors {
            let name = tensor.name.clone();
            let position = |names: &[&str]| names.iter().position(|known| *known == name);
            if let Some(i) = position(&FLOATS) {
                let dtype = tensor.dtype;
                floats[i] = Some((tensor.into_float()?, dtype));
            } else if let Some(i) = position(&MASKS) {
                masks[i] = Some(tensor.into_mask()?);
            } else if let Some(i) = position(&OF_TRAINING) {
                of_training[i] = Some(tensor.into_float()?);
            } else {
                let known =
                    FLOATS.iter().chain(&MASKS).chain(&OF_TRAINING).map(|&name| name.into()).collect();
                return Err(gqa::Error::UnknownTensor { operation: "inputs", name, known }.into());
            }
        }
        let [query, value, key] = floats;
        let need = |name: &str, tensor: Option<_>| {
            tensor.ok_or(gqa::Error::MissingTensor {
                operation: "inputs",
                name: name.into(),
                found: found.clone(),
            })
        };
        Ok(Self { query: need("query", query)?, value: need("value", value)?, key, masks, of_training })
    }

    /// `output_gradient`, which gradients need.
    pub(crate) fn output_gradient(&self) -> Result<&Array> {
        self.of_training(0)
    }

    /// `target`, which training needs.
    pub(crate) fn target(&self) -> Result<&Array> {
        self.of_training(1)
    }

    /// One of the tensors of training, which must have the shape that the layer's output has.
    fn of_training(&self, index: usize) -> Result<&Array> {
        let name = OF_TRAINING[index];
        let Some(array) = &self.of_training[index] else {
            let found = self.describe();
            anyhow::bail!("inputs: tensor `{name}` is missing; found {found}");
        };
        let (wanted, got) = (self.query.0.shape(), array.shape());
        anyhow::ensure!(
            got == wanted,
            "inputs: `{name}` must be of the output's shape {wanted:?}, but got {got:?}"
        );
        Ok(array)
    }

    /// The tensors on a GPU.
    pub(crate) async fn upload(&self, gpu: &Gpu) -> Result<Tensors> {
        let mut masks = [const { None }; 4];
        for (slot, mask) in masks.iter_mut().zip(&self.masks) {
            if let Some(mask) = mask {
                *slot = Some(Tensor::from_mask(gpu, mask).await?);
            }
        }
        let key = match &self.key {
            Some((key, dtype)) => Some(Tensor::from_array(gpu, key, *dtype).await?),
            None => None,
        };
        Ok(Tensors {
            query: Tensor::from_array(gpu, &self.query.0, self.query.1).await?,
            value: Tensor::from_array(gpu, &self.value.0, self.value.1).await?,
            key,
            masks,
        })
    }

    /// query, value and key as the reference takes them.
    pub(crate) fn exact(&self) -> (Array<f64>, Array<f64>, Option<Array<f64>>) {
        let key = self.key.as_ref().map(|(key, _)| key.to_f64());
        (self.query.0.to_f64(), self.value.0.to_f64(), key)
    }

    /// The options of a call of the reference with this key.
    pub(crate) fn reference_options<'a>(
        &'a self,
        key: Option<&'a Array<f64>>,
        use_causal_mask: bool,
        dropout_seed: Option<u64>,
    ) -> reference::CallOptions<'a> {
        let [attention_mask, query_mask, value_mask, key_mask] = &self.masks;
        reference::CallOptions {
            key,
            attention_mask: attention_mask.as_ref(),
            query_mask: query_mask.as_ref(),
            value_mask: value_mask.as_ref(),
            key_mask: key_mask.as_ref(),
            use_causal_mask,
            dropout_seed,
            ..Default::default()
        }
    }

    pub(crate) fn describe(&self) -> String {
        let mut parts =
            vec![format!("query {:?}", self.query.0.shape()), format!("value {:?}", self.value.0.shape())];
        parts.extend(self.key.as_ref().map(|(key, _)| format!("key {:?}", key.shape())));
        let masks = MASKS.iter().zip(&self.masks);
        parts.extend(masks.filter_map(|(name, mask)| Some(format!("{name} {:?}", mask.as_ref()?.shape()))));
        parts.join(", ")
    }
}

/// The inputs on a GPU.
pub(crate) struct Tensors {
    pub(crate) query: Tensor,
    pub(crate) value: Tensor,
    key: Option<Tensor>,
    masks: [Option<Tensor>; 4],
}

impl Tensors {
    /// The options of a call with them.
    pub(crate) fn options(&self, use_causal_mask: bool) -> CallOptions<'_> {
        let [attention_mask, query_mask, value_mask, key_mask] = &self.masks;
        CallOptions {
            key: self.key.as_ref(),
            attention_mask: attention_mask.as_ref(),
            query_mask: query_mask.as_ref(),
            value_mask: value_mask.as_ref(),
            key_mask: key_mask.as_ref(),
            use_causal_mask,
            ..Default::default()
        }
    }
}
