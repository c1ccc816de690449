//! Training: a call that keeps what its gradients need.

use super::forward::{Intermediates, Mode};
use super::plan::GradientPlan;
use crate::{CallOptions, CallOutput, Error, GroupedQueryAttention, Result, Tensor, Weights};

const OPERATION: &str = "GroupedQueryAttention::call_with_tape";
pub(super) const BACKWARD: &str = "Tape::backward";

/// The intermediates that one training call keeps for its gradients. It borrows the layer, which can't be changed meanwhile.
///
/// It holds the call's inputs, which must keep their values until [`backward`](Self::backward).
pub struct Tape<'a> {
    pub(super) layer: &'a GroupedQueryAttention,
    pub(super) plan: GradientPlan,
    pub(super) kept: Intermediates,
    /// Whether key was given, rather than value used as key.
    pub(super) has_key: bool,
    /// `[B,T,C]` in the policy's compute type.
    pub(super) output: Tensor,
    /// `[1]` f32
    regularization_loss: Option<Tensor>,
}

/// The gradients of one call, all f32. If query and value are the same tensor, as in self-attention, its gradient is the sum
/// of both (and of `key`).
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Of the weights, each in its weight's shape.
    pub weights: Weights<Tensor>,
    /// `[B,T,C]`
    pub query: Tensor,
    /// `[B,S,Cv]`. If value was used as key, the sum of both gradients.
    pub value: Tensor,
    /// `[B,S,Ck]`, if key was given.
    pub key: Option<Tensor>,
}

impl GroupedQueryAttention {
    /// [`call`](Self::call), and keeps the intermediates that the gradients need: O(T) memory, as the call itself.
    ///
    /// `options.training` turns dropout on, as for `call`. Scores can be returned, but no gradient flows through them.
    ///
    /// ```
    /// use gqa::{CallOptions, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};
    /// use gqa::training::{Optimizer, mean_squared_error};
    /// # pollster::block_on(async {
    /// let gpu = Gpu::from_env().await?;
    /// let mut layer = GroupedQueryAttention::new(&gpu, Config::new(16, 4, 2), FeatureWidths::all(64), 7).await?;
    /// let x = Tensor::from_slice(&gpu, [1, 10, 64], &[0.1f32; 640]).await?;
    /// let target = Tensor::from_slice(&gpu, [1, 10, 64], &[0.3f32; 640]).await?;
    /// let options = CallOptions { use_causal_mask: true, training: true, ..Default::default() };
    /// let mut optimizer = Optimizer::adam();
    /// let mut losses = Vec::new();
    /// for _ in 0..3 {
    ///     let (called, tape) = layer.call_with_tape(&x, &x, &options).await?;
    ///     let loss = mean_squared_error(&called.attention_output, &target).await?;
    ///     let gradients = tape.backward(&loss.gradient).await?;
    ///     layer.step(&mut optimizer, &gradients).await?;
    ///     losses.push(loss.value.to_vec::<f32>().await?[0]);
    /// }
    /// assert!(losses[2] < losses[0]);
    /// # Ok::<(), gqa::Error>(()) }).unwrap();
    /// ```
    pub async fn call_with_tape(
        &self,
        query: &Tensor,
        value: &Tensor,
        options: &CallOptions<'_>,
    ) -> Result<(CallOutput, Tape<'_>)> {
        let plan = self.plan(query, value, options)?;
        let gradients = plan.gradients(OPERATION, &self.gpu)?;
        self.check_penalties()?;
        self.check_training(OPERATION, plan.dims())?;
        if plan.attention.scores && self.config.activity_regularizer.is_some() {
            return Err(Error::argument(
                OPERATION,
                "return_attention_scores",
                "false with an activity regularizer, whose gradient would have to go through the scores",
                "true",
            ));
        }
        plan.tune(&self.gpu).await?;
        gradients.tune(&self.gpu).await?;
        self.gpu
            .submit(OPERATION, |pass| {
                let outputs = self.outputs(&plan)?;
                let (called, kept) = self.record(pass, &plan, options, &outputs, Mode::Training)?;
                let tape = Tape {
                    layer: self,
                    plan: gradients,
                    kept,
                    has_key: options.key.is_some(),
                    output: called.attention_output.clone(),
                    regularization_loss: None,
                };
                let regularization_loss = tape.record_penalties(pass)?;
                Ok((called, Tape { regularization_loss, ..tape }))
            })
            .await
    }
}

impl Tape<'_> {
    /// The layer's penalties on its weights and activities, `[1]` f32, as Keras adds them to the loss; `None` if it has none. A
    /// penalty on activities counts for each projection and for the output of the layer (so twice for the output of
    /// `attention_output`), each divided by the batch size.
    pub fn regularization_loss(&self) -> Option<&Tensor> {
        self.regularization_loss.as_ref()
    }
}
