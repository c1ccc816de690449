//! The calls of the layer: options, outputs and checks.

use std::sync::atomic::Ordering;

use super::forward::Mode;
use super::plan::LayerPlan;
use super::{GroupedQueryAttention, OPERATION};
use crate::arguments::check_output;
use crate::dropout::{Dropout, call_seed};
use crate::gpu::{Pass, Tensor};
use crate::{AttentionPath, Result};

/// The arguments of a call other than query and value. The default is plain attention without masks, in inference.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions<'a> {
    /// `[B,S,Ck]`. `None` uses value as key.
    pub key: Option<&'a Tensor>,
    /// Bool `[T,S]`, `[B,T,S]` or `[B,H,T,S]`; any axis may be 1. False hides a key from a query.
    pub attention_mask: Option<&'a Tensor>,
    /// Bool `[B,T]`. False hides every key from a query.
    pub query_mask: Option<&'a Tensor>,
    /// Bool `[B,S]`. False hides a key from every query.
    pub value_mask: Option<&'a Tensor>,
    /// Bool `[B,S]`. False hides a key from every query, like `value_mask`.
    pub key_mask: Option<&'a Tensor>,
    /// Query t sees only keys s ≤ t + `q_offset`.
    pub use_causal_mask: bool,
    /// Whether to return the probabilities, which takes O(T · S) memory.
    pub return_attention_scores: bool,
    /// Whether to drop probabilities, with the layer's `dropout`.
    pub training: bool,
    /// The seed of this call's dropout pattern. `None` draws a new one for each call, derived from the layer's `seed` if it
    /// has one ([`Config::dropout_seed`](crate::Config::dropout_seed)); [`CallOutput::dropout_seed`] returns it.
    pub seed: Option<u64>,
    /// Position of the first query among the keys.
    pub q_offset: u32,
    /// The path to take. `None` is [`Fused`](AttentionPath::Fused), or [`Chained`](AttentionPath::Chained) if scores are
    /// returned or the heads are too wide for the device; [`CallOutput::path`] tells which one ran.
    pub path: Option<AttentionPath>,
    /// Position of the first batch element when a batch is split over calls, so that the parts drop the same probabilities as
    /// the whole.
    pub batch_offset: u32,
}

/// Output tensors of [`encode`](GroupedQueryAttention::encode).
#[derive(Debug, Clone)]
pub struct OutputTensors {
    /// `[B,T,C]`, in the policy's compute type.
    pub attention_output: Tensor,
    /// `[B,H,T,S]` in the policy's compute type; required if scores are requested.
    pub attention_scores: Option<Tensor>,
}

/// Results of a call.
#[derive(Debug, Clone)]
pub struct CallOutput {
    /// `[B,T,C]`, in the policy's compute type.
    pub attention_output: Tensor,
    /// Probabilities before dropout, `[B,H,T,S]` in the policy's compute type, if they were requested.
    pub attention_scores: Option<Tensor>,
    /// The seed of the dropout pattern, if anything was dropped.
    pub dropout_seed: Option<u64>,
    /// The path that attention took.
    pub path: AttentionPath,
    /// The form of the fused kernel; `None` on the chained path. [`Gpu::choices`](crate::Gpu::choices) lists those of all kernels.
    pub attention_form: Option<&'static str>,
}

impl GroupedQueryAttention {
    /// Runs the layer on query `[B,T,C]` and value `[B,S,Cv]`. Inputs in another float type than the policy's are cast to
    /// it, as Keras does.
    ///
    /// The commands are submitted, not waited for: reading the output waits.
    pub async fn call(
        &self,
        query: &Tensor,
        value: &Tensor,
        options: &CallOptions<'_>,
    ) -> Result<CallOutput> {
        let plan = self.plan(query, value, options)?;
        plan.tune(&self.gpu).await?;
        let record =
            |pass: &mut Pass<'_>| self.record(pass, &plan, options, &self.outputs(&plan)?, Mode::Inference);
        Ok(self.gpu.submit(OPERATION, record).await?.0)
    }

    /// Measures the forms of the kernels for a call with these arguments, if [tuning](crate::Tuning) is on and they are not
    /// measured yet. [`call`](Self::call) does so by itself; [`encode`](Self::encode) can't.
    pub async fn tune(&self, query: &Tensor, value: &Tensor, options: &CallOptions<'_>) -> Result<()> {
        self.plan(query, value, options)?.tune(&self.gpu).await
    }

    /// Output tensors for [`encode`](Self::encode) with these arguments. They can be reused.
    ///
    /// ```
    /// use gqa::{CallOptions, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};
    /// # pollster::block_on(async {
    /// let gpu = Gpu::from_env().await?;
    /// let layer = GroupedQueryAttention::new(&gpu, Config::new(16, 4, 2), FeatureWidths::all(64), 7).await?;
    /// let x = Tensor::from_slice(&gpu, [1, 10, 64], &[0.1f32; 640]).await?; // [B,T,C]
    /// let options = CallOptions { return_attention_scores: true, ..Default::default() };
    /// let output = layer.allocate_output(&x, &x, &options).await?;
    /// assert_eq!(output.attention_output.shape(), [1, 10, 64]); // [B,T,C]
    /// assert_eq!(output.attention_scores.unwrap().shape(), [1, 4, 10, 10]); // [B,H,T,S]
    /// # Ok::<(), gqa::Error>(()) }).unwrap();
    /// ```
    pub async fn allocate_output(
        &self,
        query: &Tensor,
        value: &Tensor,
        options: &CallOptions<'_>,
    ) -> Result<OutputTensors> {
        let plan = self.plan(query, value, options)?;
        self.gpu.checked(OPERATION, || self.outputs(&plan)).await
    }

    /// Records the commands of [`call`](Self::call) into the caller's encoder. It neither submits nor waits. Results go to
    /// `output`, which must not overlap the inputs.
    ///
    /// Arguments are checked before anything is recorded. Errors that wgpu reports later, such as running out of memory, go
    /// to the caller's error scope or handler; call [`trim`](crate::Gpu::trim) after one.
    ///
    /// ```
    /// # use gqa::{Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};
    /// # pollster::block_on(async {
    /// # let gpu = Gpu::from_env().await?;
    /// # let layer = GroupedQueryAttention::new(&gpu, Config::new(16, 4, 2), FeatureWidths::all(64), 7).await?;
    /// # let x = Tensor::from_slice(&gpu, [1, 10, 64], &[0.1f32; 640]).await?;
    /// let options = Default::default();
    /// layer.tune(&x, &x, &options).await?; // once, if forms are to be measured: `encode` can't
    /// let output = layer.allocate_output(&x, &x, &options).await?; // once, for every frame
    ///
    /// let mut encoder = gpu.device().create_command_encoder(&Default::default());
    /// // …commands that write x…
    /// layer.encode(&mut encoder, &x, &x, &options, &output)?;
    /// // …commands that read output.attention_output…
    /// gpu.queue().submit([encoder.finish()]);
    /// # assert_eq!(output.attention_output.to_vec::<f32>().await?.len(), 640);
    /// # Ok::<(), gqa::Error>(()) }).unwrap();
    /// ```
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        query: &Tensor,
        value: &Tensor,
        options: &CallOptions<'_>,
        output: &OutputTensors,
    ) -> Result<CallOutput> {
        self.gpu.check()?;
        let plan = self.plan(query, value, options)?;
        let dtype = self.config.dtype.compute_dtype();
        let attention_output = Some(&output.attention_output);
        check_output(
            OPERATION,
            &self.gpu,
            "output.attention_output",
            attention_output,
            query.shape(),
            dtype,
        )?;
        if plan.attention.scores {
            let (scores, shape) = (output.attention_scores.as_ref(), plan.dims().scores_shape());
            check_output(OPERATION, &self.gpu, "output.attention_scores", scores, &shape, dtype)?;
        }
        for tensor in [plan.query, plan.key, plan.value, &output.attention_output] {
            tensor.mark_shared();
        }
        self.weights.map(Tensor::mark_shared);
        plan.attention.masks.mark_shared();
        output.attention_scores.iter().for_each(Tensor::mark_shared);
        let recorded =
            self.record(&mut Pass::begin(&self.gpu, encoder), &plan, options, output, Mode::Inference)?;
        Ok(recorded.0)
    }

    /// Draws the dropout seed. Called after validation, so that a rejected call consumes no seed.
    pub(super) fn draw_dropout(&self, options: &CallOptions<'_>) -> Option<Dropout> {
        self.dropout_of(options).map(|dropout| Dropout {
            seed: options.seed.unwrap_or_else(|| {
                call_seed(self.dropout_base, self.dropout_calls.fetch_add(1, Ordering::Relaxed))
            }),
            ..dropout
        })
    }

    /// The dropout of a call, without its seed.
    pub(super) fn dropout_of(&self, options: &CallOptions<'_>) -> Option<Dropout> {
        (options.training && self.config.dropout > 0.0).then_some(Dropout {
            probability: self.config.dropout,
            seed: 0,
            q_offset: options.q_offset,
            batch_offset: options.batch_offset,
        })
    }

    pub(crate) fn outputs(&self, plan: &LayerPlan<'_>) -> Result<OutputTensors> {
        let dtype = self.config.dtype.compute_dtype();
        let new = |shape| Tensor::output(&self.gpu, OPERATION, shape, dtype);
        Ok(OutputTensors {
            attention_output: new(plan.query.shape().to_vec())?,
            attention_scores: plan.attention.scores.then(|| new(plan.dims().scores_shape())).transpose()?,
        })
    }
}
