//! Training: a call that keeps what its gradients need, and the gradients.
//!
//! ```text
//! d_output ── · W_oᵀ ──► d_attended ──► (gate) ──► d_out ──► attention_backward ──► dq, dk, dv
//!    └─ attendedᵀ · ──► dW_o                └─► dz                  each · Wᵀ ──► d_query, d_key, d_value
//!                                                                   xᵀ · each ──► dW,   column sums ──► db
//! ```

use crate::attention::default_scale;
use crate::attention_backward::{AttentionGradient, check_gradient, check_sizes};
use crate::gpu::{Pass, Slot, Tuning, Workspace};
use crate::kernels::cast::InType;
use crate::kernels::gate_backward::gate_backward;
use crate::kernels::linear::{self, multiply};
use crate::kernels::sums::column_sums;
use crate::kernels::tame::tame;
use crate::kernels::transpose::transpose;
use crate::kernels::{attention_backward, check_binding};
use crate::layer::Plan;
use crate::layer::flow::{Intermediates, Keep, f32s};
use crate::shapes::Dims;
use crate::training::regularizer::{Penalized, record_gradient, record_loss};
use crate::{
    CallOptions, CallOutput, DType, Error, FeatureWidths, GroupedQueryAttention, Projection, Regularizer,
    Result, Tensor, Weights,
};

const OPERATION: &str = "GroupedQueryAttention::call_with_tape";
const BACKWARD: &str = "Tape::backward";

/// What one training call leaves for its gradients. While it lives, the layer can't be changed.
///
/// It holds the call's inputs, which must keep their values until [`backward`](Self::backward).
pub struct Tape<'a> {
    layer: &'a GroupedQueryAttention,
    dims: Dims,
    kept: Intermediates,
    /// Whether key was given, and not value taken for it.
    has_key: bool,
    /// `[B,T,C]` in the policy's compute type.
    output: Tensor,
    /// `[1]` f32
    regularization_loss: Option<Tensor>,
}

/// The gradients of one call, all f32. Where query and value are one tensor, as in self-attention, its gradient is the sum of
/// both (and of `key`).
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Of the weights, each in its weight's shape.
    pub weights: Weights<Tensor>,
    /// `[B,T,C]`
    pub query: Tensor,
    /// `[B,S,Cv]`. Where value was taken for key too, the sum of both.
    pub value: Tensor,
    /// `[B,S,Ck]`, if key was given.
    pub key: Option<Tensor>,
}

impl GroupedQueryAttention {
    /// [`call`](Self::call), keeping what the gradients of the call need; that is O(T), as the call itself.
    ///
    /// `options.training` says whether to drop, as for `call`. Scores can be returned, but no gradient goes through them.
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
        check_sizes(OPERATION, &self.gpu, &plan.dims)?;
        self.check_training(&plan.dims)?;
        if plan.scores && self.config.activity_regularizer.is_some() {
            return Err(Error::argument(
                OPERATION,
                "return_attention_scores",
                "false with an activity regularizer, whose gradient would have to go through the scores",
                "true",
            ));
        }
        self.tune_plan(&plan, options).await?;
        self.tune_backward(&plan, options).await?;
        self.gpu
            .submit(OPERATION, |pass| {
                let outputs = self.outputs(&plan)?;
                let (called, kept) = self.record(pass, &plan, options, &outputs, Keep::Everything)?;
                let tape = Tape {
                    layer: self,
                    dims: plan.dims,
                    kept,
                    has_key: options.key.is_some(),
                    output: called.attention_output.clone(),
                    regularization_loss: None,
                };
                let regularization_loss = tape.record_losses(pass)?;
                Ok((called, Tape { regularization_loss, ..tape }))
            })
            .await
    }

    /// Fails where the configuration has what training can't do.
    fn check_training(&self, dims: &Dims) -> Result<()> {
        for (name, variable) in self.variables().named() {
            if let Some(regularizer) = self.regularizer_of(&name) {
                regularizer.check_for(&Penalized::weight(&name, variable.slot(), variable.shape()))?;
            }
            check_binding(&self.gpu, OPERATION, &name, variable.shape().iter().product::<usize>() as u64)?;
        }
        if let Some(regularizer) = &self.config.activity_regularizer {
            let slot = self.weights.query.kernel.slot();
            regularizer.check_for(&Penalized {
                name: "activity",
                x: slot,
                shape: &[0; 4],
                row_axes: None,
            })?;
        }
        // Inputs and what is projected are transposed whole.
        let rows = dims.batch * dims.query_len.max(dims.key_len);
        let FeatureWidths { query, key, value } = self.widths;
        let widest = query.max(key).max(value).max(dims.query_heads * dims.head_dim);
        check_binding(&self.gpu, OPERATION, "an input", (rows * widest) as u64)
    }

    /// The penalty on the weight of this name.
    fn regularizer_of(&self, name: &str) -> Option<&Regularizer> {
        if !self.config.trainable {
            return None;
        }
        if name.ends_with("/kernel") {
            self.config.kernel_regularizer.as_ref()
        } else {
            self.config.bias_regularizer.as_ref()
        }
    }

    async fn tune_backward(&self, plan: &Plan<'_>, options: &CallOptions<'_>) -> Result<()> {
        if self.gpu.tuning() == Tuning::Off {
            return Ok(());
        }
        for [rows, k, n] in self.projections(&plan.dims) {
            for sizes in [[rows, n, k], [k, rows, n]] {
                linear::Shape { sizes, x: DType::F32, w: DType::F32, bias: false }.tune(&self.gpu).await?;
            }
        }
        let shape = attention_backward::Shape {
            dims: plan.dims,
            visibility: plan.masks.visibility(OPERATION, &plan.dims)?,
            dropout: options.training && self.config.dropout > 0.0,
        };
        shape.tune(&self.gpu).await
    }
}

impl Tape<'_> {
    /// The layer's penalties on its weights and activities, `[1]` f32, as Keras adds them to the loss; if it has any. A
    /// penalty on activities counts for each projection and for the output of the layer (twice, then, for what
    /// `attention_output` gives), each divided by the batch size.
    pub fn regularization_loss(&self) -> Option<&Tensor> {
        self.regularization_loss.as_ref()
    }

    /// The gradients of `Σ d_output ∘ attention_output + regularization_loss` with respect to the weights and the inputs.
    /// `d_output` is `[B,T,C]` of any float type.
    ///
    /// The same call gives the same bits. The commands are submitted, not waited for.
    pub async fn backward(self, d_output: &Tensor) -> Result<Gradients> {
        let layer = self.layer;
        check_gradient(BACKWARD, &layer.gpu, "d_output", d_output, self.output.shape())?;
        layer.gpu.submit(BACKWARD, |pass| self.record_backward(pass, d_output)).await
    }

    /// What the activity regularizer penalizes, as rank-4 or rank-3 arrays, and how many times.
    fn activities<'s>(&'s self, output: Slot<'s>) -> Vec<(Slot<'s>, usize, f32)> {
        let &Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } =
            &self.dims;
        let kept = &self.kept;
        let mut all = vec![
            (kept.q.slot(), b * t * h * d, 1.0),
            (kept.k.slot(), b * s * hkv * d, 1.0),
            (kept.v.slot(), b * s * hkv * d, 1.0),
        ];
        all.extend(kept.gate.as_ref().map(|gate| (gate.gate.slot(), b * t * h * d, 1.0)));
        all.push((output, b * t * self.layer.widths.query, 2.0));
        all
    }

    fn record_losses(&self, pass: &mut Pass<'_>) -> Result<Option<Tensor>> {
        let (layer, gpu) = (self.layer, pass.gpu());
        let config = &layer.config;
        let of_weights =
            config.trainable && (config.kernel_regularizer.is_some() || config.bias_regularizer.is_some());
        if !of_weights && config.activity_regularizer.is_none() {
            return Ok(None);
        }
        let loss = Tensor::output(gpu, OPERATION, vec![1], DType::F32)?;
        loss.write_zeros();
        for (name, variable) in layer.variables().named() {
            if let Some(regularizer) = layer.regularizer_of(&name) {
                let x = InType::new(pass, variable, DType::F32)?;
                let penalized = Penalized::weight(&name, x.slot(), variable.shape());
                record_loss(pass, regularizer, &penalized, 1.0, loss.slot())?;
            }
        }
        if let Some(regularizer) = &config.activity_regularizer {
            let output = InType::new(pass, &self.output, DType::F32)?;
            for (x, count, times) in self.activities(output.slot()) {
                let penalized = Penalized { name: "activity", x, shape: &[count], row_axes: None };
                record_loss(pass, regularizer, &penalized, times / self.dims.batch as f32, loss.slot())?;
            }
        }
        Ok(Some(loss))
    }

    /// Records gradient += the gradient of the activity regularizer for x `[count]`.
    fn penalize(
        &self,
        pass: &mut Pass<'_>,
        (x, gradient): (Slot<'_>, Slot<'_>),
        count: usize,
        times: f32,
    ) -> Result<()> {
        let Some(regularizer) = &self.layer.config.activity_regularizer else { return Ok(()) };
        let penalized = Penalized { name: "activity", x, shape: &[count], row_axes: None };
        record_gradient(pass, regularizer, &penalized, times / self.dims.batch as f32, gradient)
    }

    /// The data flow, backwards.
    fn record_backward(self, pass: &mut Pass<'_>, d_output: &Tensor) -> Result<Gradients> {
        let (layer, gpu, kept) = (self.layer, pass.gpu(), &self.kept);
        let dims = self.dims;
        let Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } = dims;
        let [of_q, of_k, of_v, of_output] = layer.projections(&dims);
        let (queries, keys) = (b * t * h * d, b * s * hkv * d);
        let dtype = layer.config.dtype.compute_dtype();
        let new = |shape: &[usize]| Tensor::output(gpu, BACKWARD, shape.to_vec(), DType::F32);
        let weights = layer.variables().try_map(|weight| new(weight.shape()))?;
        let d_query = new(self.output.shape())?;
        let d_value = new(&[b, s, layer.widths.value])?;
        let d_key = self.has_key.then(|| new(&[b, s, layer.widths.key])).transpose()?;

        // attention_output = attended · W_o + b_o
        let own_d_output = self.own_d_output(pass, d_output)?;
        let d_output = own_d_output.slot();
        let attended = kept.gate.as_ref().map_or(kept.out.slot(), |gate| gate.gated.slot()); // [B,T,H,D]
        let d_attended = f32s(pass, "d_attended", &[b, t, h, d]);
        let output = (&layer.weights.attention_output, &weights.attention_output);
        let x = Transposed::new(pass, (attended, DType::F32), [of_output[0], of_output[1]], false)?;
        d_weights(pass, &x, d_output, of_output, output.1)?;
        d_input(pass, d_output, output.0, of_output, d_attended.slot(), false)?;
        drop(x);

        // attended = gate ∘ out, gate = sigmoid(query · W_g + b_g)
        let d_out = d_attended;
        if let Some(gate) = &kept.gate {
            let penalty = match &layer.config.activity_regularizer {
                Some(regularizer) => regularizer.factors().map(|own| (own / b as f64) as f32),
                None => [0.0; 2],
            };
            gate_backward(pass, [gate.gate.slot(), kept.out.slot(), d_out.slot()], queries, penalty)?;
        }

        // out = attention(q, k, v)
        let dq = f32s(pass, "dq", &[b, t, h, d]);
        let dk = f32s(pass, "dk", &[b, s, hkv, d]);
        let dv = f32s(pass, "dv", &[b, s, hkv, d]);
        let attention = AttentionGradient {
            dims,
            q: kept.q.slot(),
            k: kept.k.slot(),
            v: kept.v.slot(),
            out: kept.out.slot(),
            lse: kept.lse.slot(),
            d_out: d_out.slot(),
            visibility: kept.visibility,
            mask_bits: kept.mask_bits.slot(),
            scale: default_scale(d),
            dropout: kept.dropout,
            dq: dq.slot(),
            dk: dk.slot(),
            dv: dv.slot(),
        };
        attention.encode(pass)?;
        self.penalize(pass, (kept.q.slot(), dq.slot()), queries, 1.0)?;
        self.penalize(pass, (kept.k.slot(), dk.slot()), keys, 1.0)?;
        self.penalize(pass, (kept.v.slot(), dv.slot()), keys, 1.0)?;

        // q = query · W_q + b_q, and so on
        let of = &layer.weights;
        let hides = kept.visibility.hides();
        let query = Transposed::new(pass, (kept.query.slot(), dtype), [of_q[0], of_q[1]], hides)?;
        d_weights(pass, &query, dq.slot(), of_q, &weights.query)?;
        d_input(pass, dq.slot(), &of.query, of_q, d_query.slot(), false)?;
        if let (Some(gate), Some(of), Some(weights)) = (&kept.gate, &of.gate, &weights.gate) {
            let dz = gate.gate.slot();
            d_weights(pass, &query, dz, of_q, weights)?;
            d_input(pass, dz, of, of_q, d_query.slot(), true)?;
        }
        drop(query);
        let value = Transposed::new(pass, (kept.value.slot(), dtype), [of_v[0], of_v[1]], hides)?;
        d_weights(pass, &value, dv.slot(), of_v, &weights.value)?;
        d_input(pass, dv.slot(), &of.value, of_v, d_value.slot(), false)?;
        let key = match &d_key {
            Some(_) => Transposed::new(pass, (kept.key.slot(), dtype), [of_k[0], of_k[1]], hides)?,
            None => value,
        };
        d_weights(pass, &key, dk.slot(), of_k, &weights.key)?;
        d_input(pass, dk.slot(), &of.key, of_k, d_key.as_ref().unwrap_or(&d_value).slot(), d_key.is_none())?;

        for ((name, variable), (_, gradient)) in layer.variables().named().into_iter().zip(weights.named()) {
            if let Some(regularizer) = layer.regularizer_of(&name) {
                let x = InType::new(pass, variable, DType::F32)?;
                let penalized = Penalized::weight(&name, x.slot(), variable.shape());
                record_gradient(pass, regularizer, &penalized, 1.0, gradient.slot())?;
            }
        }
        Ok(Gradients { weights, query: d_query, value: d_value, key: d_key })
    }

    /// The gradient of the output as f32, with that of the activity regularizer.
    fn own_d_output(&self, pass: &mut Pass<'_>, d_output: &Tensor) -> Result<InType> {
        if self.layer.config.activity_regularizer.is_none() {
            return InType::new(pass, d_output, DType::F32);
        }
        let own = InType::copy(pass, d_output, DType::F32)?;
        let output = InType::new(pass, &self.output, DType::F32)?;
        self.penalize(pass, (output.slot(), own.slot()), self.output.shape().iter().product(), 2.0)?;
        Ok(own)
    }
}

/// xᵀ `[K,M]` f32 of x `[M,K]`.
struct Transposed(Workspace);

impl Transposed {
    /// With `hidden`, rows of x may be hidden and hold anything.
    fn new(pass: &mut Pass<'_>, x: (Slot<'_>, DType), [m, k]: [usize; 2], hidden: bool) -> Result<Self> {
        let transposed = pass.workspace("transposed", (m * k) as u64);
        transpose(pass, x, [m, k], transposed.slot())?;
        if hidden {
            tame(pass, transposed.slot(), m * k)?;
        }
        Ok(Self(transposed))
    }
}

/// y = x · w + b: dw `[K,N]` = xᵀ `[K,M]` · dy `[M,N]`, db `[N]` = the column sums of dy.
fn d_weights(
    pass: &mut Pass<'_>,
    x: &Transposed,
    dy: Slot<'_>,
    [m, k, n]: [usize; 3],
    d_weights: &Projection<Tensor>,
) -> Result<()> {
    multiply(pass, x.0.slot(), dy, d_weights.kernel.slot(), [k, m, n], false)?;
    match &d_weights.bias {
        Some(bias) => column_sums(pass, dy, [m, n], bias.slot()),
        None => Ok(()),
    }
}

/// y = x · w + b: dx `[M,K]` = dy `[M,N]` · wᵀ `[N,K]`, or that added to it.
fn d_input(
    pass: &mut Pass<'_>,
    dy: Slot<'_>,
    weights: &Projection<Tensor>,
    [m, k, n]: [usize; 3],
    dx: Slot<'_>,
    add: bool,
) -> Result<()> {
    let w = Transposed::new(pass, (weights.kernel.slot(), weights.kernel.dtype()), [k, n], false)?;
    multiply(pass, dy, w.0.slot(), dx, [m, n, k], add)
}
