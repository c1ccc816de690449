//! The plan of a call of the layer: its checked arguments. Tuning and recording both read it.

use super::{GroupedQueryAttention, OPERATION};
#[cfg(feature = "training")]
use crate::arguments::check_binding;
use crate::arguments::{check_float, check_words};
#[cfg(feature = "training")]
use crate::attention::BackwardPlan;
use crate::attention::{AttentionArguments, AttentionMasks, AttentionPlan};
use crate::gpu::{Gpu, Tensor, Tuning};
use crate::kernels::attention::score::Score;
use crate::kernels::linear::Linear;
use crate::shapes::Dims;
use crate::{CallOptions, DType, Error, FeatureWidths, Result, tuning};

/// The plan of a call of the layer.
pub(crate) struct LayerPlan<'a> {
    pub(super) query: &'a Tensor,
    pub(super) key: &'a Tensor,
    pub(super) value: &'a Tensor,
    pub(super) attention: AttentionPlan<'a>,
    pub(super) projections: Projections,
}

/// The projections of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projections {
    /// The query's; the gate's is the same.
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) attention_output: Linear,
}

/// The plan of the gradients of a call.
#[cfg(feature = "training")]
#[derive(Debug, Clone, Copy)]
pub(super) struct GradientPlan {
    pub(super) attention: BackwardPlan,
    pub(super) projections: Projections,
}

impl LayerPlan<'_> {
    pub(super) fn dims(&self) -> &Dims {
        &self.attention.problem.dims
    }

    /// Measures the forms of all kernels of the call, if tuning is on and they are not measured yet.
    pub(super) async fn tune(&self, gpu: &Gpu) -> Result<()> {
        for projection in self.projections.all() {
            tune(&projection, gpu).await?;
        }
        self.attention.tune(gpu).await
    }

    /// The plan of the call's gradients.
    #[cfg(feature = "training")]
    pub(super) fn gradients(&self, operation: &'static str, gpu: &Gpu) -> Result<GradientPlan> {
        let attention = BackwardPlan::new(operation, gpu, self.attention.problem)?;
        Ok(GradientPlan { attention, projections: self.projections })
    }
}

#[cfg(feature = "training")]
impl GradientPlan {
    /// Measures the forms of all kernels of the gradients, if tuning is on and they are not measured yet.
    pub(super) async fn tune(&self, gpu: &Gpu) -> Result<()> {
        for projection in self.projections.all() {
            tune(&projection.gradient_of_x(), gpu).await?;
            tune(&projection.gradient_of_w(), gpu).await?;
        }
        self.attention.tune(gpu).await
    }
}

async fn tune(projection: &Linear, gpu: &Gpu) -> Result<()> {
    if projection.may_use_matrices() && gpu.tuning() == Tuning::On {
        gpu.test_cooperative_matrix().await?;
    }
    tuning::tune(projection, gpu).await
}

impl Projections {
    fn all(&self) -> [Linear; 4] {
        [self.query, self.key, self.value, self.attention_output]
    }

    /// The projections of inputs of these dimensions and widths, in this type.
    fn new(dims: &Dims, widths: FeatureWidths, dtype: DType) -> Self {
        let &Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } = dims;
        let FeatureWidths { query: c, key: ck, value: cv } = widths;
        let of = |x, sizes| Linear { sizes, x, w: dtype };
        Self {
            query: of(dtype, [b * t, c, h * d]),
            key: of(dtype, [b * s, ck, hkv * d]),
            value: of(dtype, [b * s, cv, hkv * d]),
            // The output projection reads the result of attention.
            attention_output: of(DType::F32, [b * t, h * d, c]),
        }
    }
}

impl GroupedQueryAttention {
    /// Checks the arguments of a call.
    pub(super) fn plan<'a>(
        &self,
        query: &'a Tensor,
        value: &'a Tensor,
        options: &CallOptions<'a>,
    ) -> Result<LayerPlan<'a>> {
        let key = options.key.unwrap_or(value);
        let dtype = self.config.dtype.compute_dtype();
        for (name, tensor, width) in [
            ("query", query, self.widths.query),
            ("value", value, self.widths.value),
            ("key", key, self.widths.key),
        ] {
            check_float(OPERATION, &self.gpu, name, tensor)?;
            if tensor.shape().len() == 3 && tensor.shape()[2] != width {
                let expected = format!("of feature width {width}, for which the layer is built");
                return Err(Error::argument(
                    OPERATION,
                    name,
                    expected,
                    format!("shape {:?}", tensor.shape()),
                ));
            }
        }
        let dims =
            Dims::new(OPERATION, &self.config, query.shape(), value.shape(), options.key.map(Tensor::shape))?;
        let attention = AttentionPlan::new(
            OPERATION,
            &self.gpu,
            &AttentionArguments {
                dims,
                types: [DType::F32; 3],
                half: dtype == DType::F16,
                score: Score::of_layer(dims.head_dim),
                causal: options.use_causal_mask,
                sliding_window: self.config.sliding_window,
                q_offset: options.q_offset,
                masks: AttentionMasks {
                    attention_mask: options.attention_mask,
                    query_mask: options.query_mask,
                    value_mask: options.value_mask,
                    key_mask: options.key_mask,
                },
                dropout: self.dropout_of(options),
                scores: options.return_attention_scores,
                path: options.path,
            },
        )?;
        self.check_sizes(&dims, [("query", query), ("key", key), ("value", value)])?;
        let projections = Projections::new(&dims, self.widths, dtype);
        Ok(LayerPlan { query, key, value, attention, projections })
    }

    /// Fails if an intermediate exceeds the adapter's limits.
    fn check_sizes(&self, dims: &Dims, inputs: [(&str, &Tensor); 3]) -> Result<()> {
        let Dims { batch: b, query_len: t, key_len: s, key_heads: hkv, head_dim: d, .. } = *dims;
        let words = |shape: [usize; 4]| shape.iter().fold(1u64, |words, &n| words.saturating_mul(n as u64));
        check_words(&self.gpu, OPERATION, "k", words([b, s, hkv, d]))?;
        check_words(&self.gpu, OPERATION, "attention_output", words([b, t, self.widths.query, 1]))?;
        // A cast input is at most f32.
        for (name, tensor) in inputs {
            if tensor.dtype() != self.config.dtype.compute_dtype() {
                let words = tensor.shape().iter().product::<usize>() as u64;
                check_words(&self.gpu, OPERATION, name, words)?;
            }
        }
        Ok(())
    }

    /// Fails if a tensor that the gradients bind whole exceeds one binding.
    #[cfg(feature = "training")]
    pub(super) fn check_training(&self, operation: &'static str, dims: &Dims) -> Result<()> {
        for (name, variable) in self.variables().named() {
            let words = variable.shape().iter().product::<usize>() as u64;
            check_binding(&self.gpu, operation, &name, words)?;
        }
        // The inputs of projections and their results are transposed whole.
        let rows = dims.batch * dims.query_len.max(dims.key_len);
        let FeatureWidths { query, key, value } = self.widths;
        let widest = query.max(key).max(value).max(dims.query_heads * dims.head_dim);
        check_binding(&self.gpu, operation, "an input", (rows * widest) as u64)
    }
}
