//! The layer: what it is made of, its calls, and what they check. The data flow is in `flow.rs`, its gradients in `tape.rs`.

mod flow;
mod tape;
mod weights;

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::attention::{AttentionPath, check_float, check_output, check_sizes, choose_path};
use crate::dropout::{Dropout, call_seed};
use crate::gpu::{Gpu, Pass, Tensor, Tuning};
use crate::kernels::{attention_forward, check_words, linear};
use crate::mask::Masks;
use crate::shapes::Dims;
use crate::{Config, DType, Error, FeatureWidths, Result, Weights};
use flow::Keep;
pub use tape::{Gradients, Tape};

const OPERATION: &str = "GroupedQueryAttention";

/// Keras' `GroupQueryAttention` on one GPU, with the same semantics.
///
/// ```
/// use gqa::{CallOptions, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};
/// # pollster::block_on(async {
/// let gpu = Gpu::from_env().await?;
/// let layer = GroupedQueryAttention::new(&gpu, Config::new(16, 4, 2), FeatureWidths::all(64), 7).await?;
/// let x = Tensor::from_slice(&gpu, [1, 10, 64], &[0.1f32; 640]).await?;
/// let options = CallOptions { use_causal_mask: true, ..Default::default() };
/// let output = layer.call(&x, &x, &options).await?;
/// assert_eq!(output.attention_output.shape(), [1, 10, 64]);
/// # Ok::<(), gqa::Error>(()) }).unwrap();
/// ```
pub struct GroupedQueryAttention {
    pub(crate) gpu: Gpu,
    pub(crate) config: Config,
    pub(crate) widths: FeatureWidths,
    /// In the policy's compute type.
    pub(crate) weights: Weights<Tensor>,
    /// In the policy's variable type, where that is another: mixed policies keep f32 behind what they compute with.
    pub(crate) variables: Option<Weights<Tensor>>,
    /// Names the dropout patterns of calls that bring no seed of their own.
    dropout_base: u64,
    dropout_calls: AtomicU64,
}

/// The arguments of a call beside query and value. The default is plain attention without masks, in inference.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions<'a> {
    /// `[B,S,Ck]`. `None` takes value for key too.
    pub key: Option<&'a Tensor>,
    /// Bool `[T,S]`, `[B,T,S]` or `[B,H,T,S]`; any axis may be 1. False hides a key from a query.
    pub attention_mask: Option<&'a Tensor>,
    /// Bool `[B,T]`. False hides everything from a query.
    pub query_mask: Option<&'a Tensor>,
    /// Bool `[B,S]`. False hides a key from every query.
    pub value_mask: Option<&'a Tensor>,
    /// Bool `[B,S]`. False hides a key from every query, like `value_mask`.
    pub key_mask: Option<&'a Tensor>,
    /// Query t sees keys s ≤ t + `q_offset` only.
    pub use_causal_mask: bool,
    /// Whether to return the probabilities, which takes memory for them: O(T · S).
    pub return_attention_scores: bool,
    /// Whether to drop probabilities, with the layer's `dropout`.
    pub training: bool,
    /// The seed of this call's dropout pattern. `None` takes a new one for each call, derived from the layer's `seed` if it
    /// has one ([`Config::dropout_seed`]); [`CallOutput::dropout_seed`] says which.
    pub seed: Option<u64>,
    /// Position of the first query among the keys.
    pub q_offset: u32,
    /// The path to take. `None` is [`Fused`](AttentionPath::Fused) unless scores are wanted or the heads are too wide for
    /// the device; [`CallOutput::path`] says which.
    pub path: Option<AttentionPath>,
    /// Position of the first batch element, when a batch is split over calls: the parts then drop what the whole would.
    pub batch_offset: u32,
}

/// What [`encode`](GroupedQueryAttention::encode) writes to.
#[derive(Debug, Clone)]
pub struct OutputTensors {
    /// `[B,T,C]`, in the policy's compute type.
    pub attention_output: Tensor,
    /// `[B,H,T,S]` in the policy's compute type, needed if scores are asked for.
    pub attention_scores: Option<Tensor>,
}

/// What a call returns.
#[derive(Debug, Clone)]
pub struct CallOutput {
    /// `[B,T,C]`, in the policy's compute type.
    pub attention_output: Tensor,
    /// Probabilities before dropout, `[B,H,T,S]` in the policy's compute type, if they were asked for.
    pub attention_scores: Option<Tensor>,
    /// The seed of the dropout pattern, if anything was dropped.
    pub dropout_seed: Option<u64>,
    /// The path that attention took.
    pub path: AttentionPath,
    /// The form of the fused kernel that was taken; `None` on the chained path. [`Gpu::choices`] has those of all kernels.
    pub attention_form: Option<&'static str>,
}

impl GroupedQueryAttention {
    /// A layer with weights drawn from the config's initializers; `seed` is for those that have none of their own.
    pub async fn new(gpu: &Gpu, config: Config, widths: FeatureWidths, seed: u64) -> Result<Self> {
        let weights = Weights::initialize(&config, widths, seed)?;
        Self::from_weights(gpu, config, &weights).await
    }

    /// A layer with these weights, rounded to the policy's types. Fails where their shapes are not those of the config.
    pub async fn from_weights(gpu: &Gpu, config: Config, weights: &Weights) -> Result<Self> {
        config.validate()?;
        let widths = weights.widths("GroupedQueryAttention::from_weights", &config)?;
        let (compute, variable) = (config.dtype.compute_dtype(), config.dtype.variable_dtype());
        let upload = async |dtype: DType| {
            weights.try_map_async(async |weight| Tensor::from_array(gpu, weight, dtype).await).await
        };
        Ok(Self {
            gpu: gpu.clone(),
            widths,
            weights: upload(compute).await?,
            variables: if variable == compute { None } else { Some(upload(variable).await?) },
            dropout_base: config.seed.unwrap_or_else(random_seed),
            dropout_calls: AtomicU64::new(0),
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The feature widths that the weights are for.
    pub fn widths(&self) -> FeatureWidths {
        self.widths
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

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
        self.tune_plan(&plan, options).await?;
        let record =
            |pass: &mut Pass<'_>| self.record(pass, &plan, options, &self.outputs(&plan)?, Keep::Nothing);
        Ok(self.gpu.submit(OPERATION, record).await?.0)
    }

    /// Measures the forms of the kernels that a call with these arguments takes, if that has not been done and
    /// [tuning](crate::Tuning) is on. [`call`](Self::call) does so by itself; [`encode`](Self::encode) can't.
    pub async fn tune(&self, query: &Tensor, value: &Tensor, options: &CallOptions<'_>) -> Result<()> {
        self.tune_plan(&self.plan(query, value, options)?, options).await
    }

    pub(crate) async fn tune_plan(&self, plan: &Plan<'_>, options: &CallOptions<'_>) -> Result<()> {
        if self.gpu.tuning() == Tuning::Off {
            return Ok(());
        }
        let dtype = self.config.dtype.compute_dtype();
        // The last works on what attention gives.
        let types = [dtype, dtype, dtype, DType::F32];
        for (sizes, x) in self.projections(&plan.dims).into_iter().zip(types) {
            linear::Shape { sizes, x, w: dtype, bias: self.config.use_bias }.tune(&self.gpu).await?;
        }
        if plan.path == AttentionPath::Fused {
            let dropout = options.training && self.config.dropout > 0.0;
            let shape = attention_forward::Shape {
                dims: plan.dims,
                types: [DType::F32; 3],
                visibility: plan.masks.visibility(OPERATION, &plan.dims)?,
                dropout,
                half: dtype == DType::F16,
            };
            shape.tune(&self.gpu).await?;
        }
        Ok(())
    }

    /// M, K and N of the projections query (and gate), key, value and attention_output.
    fn projections(&self, dims: &Dims) -> [[usize; 3]; 4] {
        let &Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } = dims;
        let FeatureWidths { query: c, key: ck, value: cv } = self.widths;
        [[b * t, c, h * d], [b * s, ck, hkv * d], [b * s, cv, hkv * d], [b * t, h * d, c]]
    }

    /// Tensors for [`encode`](Self::encode) to write to, for a call with these arguments. They can be used again.
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

    /// Records what [`call`](Self::call) does into the caller's encoder: nothing is submitted, nothing waited for. Results
    /// go to `output`, which must not overlap the inputs.
    ///
    /// Arguments are checked before anything is recorded. What wgpu itself finds wrong, such as memory that runs out,
    /// goes to the error scope or handler of the caller, who should [`trim`](Gpu::trim) then.
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
        if plan.scores {
            let (scores, shape) = (output.attention_scores.as_ref(), plan.dims.scores_shape());
            check_output(OPERATION, &self.gpu, "output.attention_scores", scores, &shape, dtype)?;
        }
        for tensor in [plan.query, plan.key, plan.value, &output.attention_output] {
            tensor.lend();
        }
        self.weights.map(Tensor::lend);
        plan.masks.lend();
        output.attention_scores.iter().for_each(Tensor::lend);
        let recorded =
            self.record(&mut Pass::begin(&self.gpu, encoder), &plan, options, output, Keep::Nothing)?;
        Ok(recorded.0)
    }

    /// Checks the arguments of a call.
    pub(crate) fn plan<'a>(
        &self,
        query: &'a Tensor,
        value: &'a Tensor,
        options: &CallOptions<'a>,
    ) -> Result<Plan<'a>> {
        let key = options.key.unwrap_or(value);
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
        let masks = Masks {
            attention_mask: options.attention_mask,
            query_mask: options.query_mask,
            value_mask: options.value_mask,
            key_mask: options.key_mask,
            causal: options.use_causal_mask,
            q_offset: options.q_offset,
            sliding_window: self.config.sliding_window,
        };
        masks.check(OPERATION, &self.gpu, &dims)?;
        let scores = options.return_attention_scores;
        let path = choose_path(OPERATION, &self.gpu, &dims, options.path, scores)?;
        let plan = Plan { query, key, value, dims, masks, scores, path };
        self.check_sizes(&plan)?;
        Ok(plan)
    }

    /// Fails where an intermediate would be larger than the adapter allows.
    fn check_sizes(&self, plan: &Plan<'_>) -> Result<()> {
        let Dims { batch: b, query_len: t, key_len: s, key_heads: hkv, head_dim: d, .. } = plan.dims;
        let words = |shape: [usize; 4]| shape.iter().fold(1u64, |words, &n| words.saturating_mul(n as u64));
        check_words(&self.gpu, OPERATION, "k", words([b, s, hkv, d]))?;
        check_words(&self.gpu, OPERATION, "attention_output", words([b, t, self.widths.query, 1]))?;
        // An input that is cast becomes f32 at most.
        for (name, tensor) in [("query", plan.query), ("key", plan.key), ("value", plan.value)] {
            if tensor.dtype() != self.config.dtype.compute_dtype() {
                let words = tensor.shape().iter().product::<usize>() as u64;
                check_words(&self.gpu, OPERATION, name, words)?;
            }
        }
        check_sizes(OPERATION, &self.gpu, &plan.dims, plan.path, plan.scores)
    }

    /// Draws the dropout seed of a call. Called after validation, so that a rejected call consumes no seed.
    fn draw_dropout(&self, options: &CallOptions<'_>) -> Option<Dropout> {
        (options.training && self.config.dropout > 0.0).then(|| Dropout {
            probability: self.config.dropout,
            seed: options.seed.unwrap_or_else(|| {
                call_seed(self.dropout_base, self.dropout_calls.fetch_add(1, Ordering::Relaxed))
            }),
            q_offset: options.q_offset,
            batch_offset: options.batch_offset,
        })
    }

    pub(crate) fn outputs(&self, plan: &Plan<'_>) -> Result<OutputTensors> {
        let dtype = self.config.dtype.compute_dtype();
        let new = |shape| Tensor::output(&self.gpu, OPERATION, shape, dtype);
        Ok(OutputTensors {
            attention_output: new(plan.query.shape().to_vec())?,
            attention_scores: plan.scores.then(|| new(plan.dims.scores_shape())).transpose()?,
        })
    }
}

impl std::fmt::Debug for GroupedQueryAttention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupedQueryAttention({:?}, {:?}, {:?})", self.config, self.widths, self.gpu)
    }
}

/// A call whose arguments have been checked.
pub(crate) struct Plan<'a> {
    pub(crate) query: &'a Tensor,
    pub(crate) key: &'a Tensor,
    pub(crate) value: &'a Tensor,
    pub(crate) dims: Dims,
    pub(crate) masks: Masks<'a>,
    pub(crate) scores: bool,
    path: AttentionPath,
}

/// A seed from the randomness that hash maps use.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
