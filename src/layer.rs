//! The layer: the data flow from query, key and value to `attention_output`, readable top to bottom.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::attention::{Attention, AttentionPath, check_device, check_float, choose_path, default_scale};
use crate::dropout::Dropout;
use crate::gpu::{Gpu, Pass, Slot, Tensor, Workspace};
use crate::kernels::cast::cast;
use crate::kernels::check_words;
use crate::kernels::linear::{Linear, linear};
use crate::mask::Masks;
use crate::shapes::Dims;
use crate::{Config, DType, Error, FeatureWidths, Projection, Result, Weights};

const CALL: &str = "GroupedQueryAttention::call";

/// Grouped-query attention as a layer, with the meaning of Keras' `GroupQueryAttention`, on one GPU.
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
    gpu: Gpu,
    config: Config,
    widths: FeatureWidths,
    query: DenseWeights,
    key: DenseWeights,
    value: DenseWeights,
    gate: Option<DenseWeights>,
    attention_output: DenseWeights,
    /// Names the dropout patterns of calls that bring no seed of their own.
    dropout_base: u64,
    dropout_calls: AtomicU64,
}

/// A projection on the GPU, in the policy's compute type.
struct DenseWeights {
    kernel: Tensor,
    bias: Option<Tensor>,
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
    /// Query t sees keys s ≤ t + `query_offset` only.
    pub use_causal_mask: bool,
    /// Whether to return the probabilities, which takes memory for them: O(T · S).
    pub return_attention_scores: bool,
    /// Whether to drop probabilities, with the layer's `dropout`.
    pub training: bool,
    /// The seed of this call's dropout pattern. `None` takes a new one for each call, derived from the layer's `seed` if it
    /// has one; [`CallOutput::dropout_seed`] says which.
    pub seed: Option<u64>,
    /// Position of the first query among the keys.
    pub query_offset: u32,
    /// The path to take. `None` is [`Fused`](AttentionPath::Fused) unless scores are wanted, queries are few, or the heads
    /// are too wide for the device; [`CallOutput::path`] says which.
    pub path: Option<AttentionPath>,
    /// Position of the first batch element, when a batch is split over calls: the parts then drop what the whole would.
    pub batch_offset: u32,
}

/// What a call returns; for [`encode`](GroupedQueryAttention::encode), what it writes to.
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
        let dtype = config.dtype.compute_dtype();
        let gate = match &weights.gate {
            Some(gate) => Some(DenseWeights::upload(gpu, gate, dtype).await?),
            None => None,
        };
        Ok(Self {
            gpu: gpu.clone(),
            widths,
            query: DenseWeights::upload(gpu, &weights.query, dtype).await?,
            key: DenseWeights::upload(gpu, &weights.key, dtype).await?,
            value: DenseWeights::upload(gpu, &weights.value, dtype).await?,
            gate,
            attention_output: DenseWeights::upload(gpu, &weights.attention_output, dtype).await?,
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
        self.gpu
            .checked(CALL, || {
                let output = self.outputs(&plan)?;
                let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
                self.record(&mut encoder, &plan, &output)?;
                self.gpu.queue().submit([encoder.finish()]);
                Ok(output)
            })
            .await
    }

    /// Tensors for [`encode`](Self::encode) to write to, for a call with these arguments. They can be used again.
    pub async fn allocate_output(
        &self,
        query: &Tensor,
        value: &Tensor,
        options: &CallOptions<'_>,
    ) -> Result<CallOutput> {
        let plan = self.plan(query, value, options)?;
        self.gpu.checked(CALL, || self.outputs(&plan)).await
    }

    /// Records what [`call`](Self::call) does into the caller's encoder: nothing is submitted, nothing waited for. Results
    /// go to `output`, whose `dropout_seed` and `path` are set.
    ///
    /// Arguments are checked before anything is recorded. What wgpu itself finds wrong, such as memory that runs out,
    /// goes to the error scope or handler of the caller.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        query: &Tensor,
        value: &Tensor,
        options: &CallOptions<'_>,
        output: &mut CallOutput,
    ) -> Result<()> {
        self.gpu.check()?;
        let plan = self.plan(query, value, options)?;
        let dtype = self.config.dtype.compute_dtype();
        let wanted = [
            ("output.attention_output", Some(&output.attention_output), Some(query.shape().to_vec())),
            (
                "output.attention_scores",
                output.attention_scores.as_ref(),
                options.return_attention_scores.then(|| plan.dims.scores_shape()),
            ),
        ];
        for (name, tensor, shape) in wanted {
            let Some(shape) = shape else { continue };
            let expected = format!("of shape {shape:?} and type {dtype}");
            let Some(tensor) = tensor else {
                return Err(Error::argument(CALL, name, expected, "None"));
            };
            if tensor.shape() != shape || tensor.dtype() != dtype {
                return Err(Error::argument(CALL, name, expected, format!("{tensor:?}")));
            }
            check_device(CALL, &self.gpu, name, tensor)?;
        }
        self.record(encoder, &plan, output)?;
        output.dropout_seed = plan.dropout.map(|dropout| dropout.seed);
        output.path = plan.path;
        Ok(())
    }

    /// Checks the arguments of a call.
    fn plan<'a>(&self, query: &'a Tensor, value: &'a Tensor, options: &CallOptions<'a>) -> Result<Plan<'a>> {
        let key = options.key.unwrap_or(value);
        for (name, tensor, width) in [
            ("query", query, self.widths.query),
            ("value", value, self.widths.value),
            ("key", key, self.widths.key),
        ] {
            check_float(CALL, &self.gpu, name, tensor)?;
            if tensor.shape().len() == 3 && tensor.shape()[2] != width {
                let expected = format!("of feature width {width}, for which the layer is built");
                return Err(Error::argument(CALL, name, expected, format!("shape {:?}", tensor.shape())));
            }
        }
        let dims =
            Dims::new(CALL, &self.config, query.shape(), value.shape(), options.key.map(Tensor::shape))?;
        let masks = Masks {
            attention_mask: options.attention_mask,
            query_mask: options.query_mask,
            value_mask: options.value_mask,
            key_mask: options.key_mask,
            causal: options.use_causal_mask,
            query_offset: options.query_offset,
            sliding_window: self.config.sliding_window,
        };
        masks.check(CALL, &self.gpu, &dims)?;
        let drops = options.training && self.config.dropout > 0.0;
        let dropout = drops.then(|| Dropout {
            probability: self.config.dropout,
            seed: options.seed.unwrap_or_else(|| self.next_seed()),
            query_offset: options.query_offset,
            batch_offset: options.batch_offset,
        });
        let scores = options.return_attention_scores;
        let path = choose_path(CALL, &self.gpu, &dims, options.path, scores)?;
        Ok(Plan { query, key, value, dims, masks, dropout, scores, path })
    }

    fn outputs(&self, plan: &Plan<'_>) -> Result<CallOutput> {
        let new = |shape| Tensor::allocate(&self.gpu, CALL, shape, self.config.dtype.compute_dtype(), false);
        Ok(CallOutput {
            attention_output: new(plan.query.shape().to_vec())?,
            attention_scores: plan.scores.then(|| new(plan.dims.scores_shape())).transpose()?,
            dropout_seed: plan.dropout.map(|dropout| dropout.seed),
            path: plan.path,
        })
    }

    /// The data flow.
    fn record(&self, encoder: &mut wgpu::CommandEncoder, plan: &Plan<'_>, output: &CallOutput) -> Result<()> {
        let Dims { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d } =
            plan.dims;
        let FeatureWidths { query: c, key: ck, value: cv } = self.widths;
        let dtype = self.config.dtype.compute_dtype();
        // Everything is sized, and refused if need be, before anything is recorded.
        let q = self.workspace("q", &[b, t, h, d])?;
        let k = self.workspace("k", &[b, s, hkv, d])?;
        let v = self.workspace("v", &[b, s, hkv, d])?;
        let out = self.workspace("out", &[b, t, h, d])?;
        let result = self.workspace("attention_output", &[b, t, c])?;

        let pass = &mut Pass::begin(&self.gpu, encoder);
        let query_input = self.cast_input(pass, plan.query)?; // [B,T,C]
        let key_input = self.cast_input(pass, plan.key)?; // [B,S,Ck]
        let value_input = self.cast_input(pass, plan.value)?; // [B,S,Cv]
        let query = (query_input.slot(), dtype);

        self.query.apply(pass, query, None, q.slot(), [b * t, c, h * d])?;
        self.key.apply(pass, (key_input.slot(), dtype), None, k.slot(), [b * s, ck, hkv * d])?;
        self.value.apply(pass, (value_input.slot(), dtype), None, v.slot(), [b * s, cv, hkv * d])?;

        let attention = Attention {
            operation: CALL,
            dims: plan.dims,
            path: plan.path,
            q: (q.slot(), DType::F32),
            k: (k.slot(), DType::F32),
            v: (v.slot(), DType::F32),
            masks: plan.masks,
            scale: default_scale(d),
            dropout: plan.dropout,
            scores: output.attention_scores.as_ref().filter(|_| plan.scores),
            lse: None,
            out: out.slot(),
        };
        attention.encode(pass)?;

        // gated = sigmoid(query · w + bias) ∘ out; q has been read and takes it.
        let attended = match &self.gate {
            Some(gate) => {
                gate.apply(pass, query, Some(out.slot()), q.slot(), [b * t, c, h * d])?;
                &q
            }
            None => &out,
        };
        self.attention_output.apply(
            pass,
            (attended.slot(), DType::F32),
            None,
            result.slot(),
            [b * t, h * d, c],
        )?;
        cast(pass, (result.slot(), DType::F32), (output.attention_output.slot(), dtype), b * t * c)
    }

    /// An f32 intermediate of this shape.
    fn workspace(&self, name: &'static str, shape: &[usize]) -> Result<Workspace> {
        let words = shape.iter().try_fold(1u64, |words, &n| words.checked_mul(n as u64)).unwrap_or(u64::MAX);
        check_words(&self.gpu, CALL, name, words)?;
        Ok(Workspace::new(&self.gpu, name, words))
    }

    /// An input in the policy's compute type.
    fn cast_input<'a>(&self, pass: &mut Pass<'_>, tensor: &'a Tensor) -> Result<Input<'a>> {
        let dtype = self.config.dtype.compute_dtype();
        if tensor.dtype() == dtype {
            return Ok(Input::AsGiven(tensor));
        }
        let count = tensor.shape().iter().product::<usize>();
        let words = (count as u64 * dtype.size() as u64).div_ceil(4);
        check_words(&self.gpu, CALL, "input", words)?;
        let workspace = Workspace::new(&self.gpu, "input", words);
        cast(pass, (tensor.slot(), tensor.dtype()), (workspace.slot(), dtype), count)?;
        Ok(Input::Cast(workspace))
    }

    /// A new dropout seed for each call.
    fn next_seed(&self) -> u64 {
        let call = self.dropout_calls.fetch_add(1, Ordering::Relaxed);
        // Philox as a mixing function, so that neighbouring seeds and calls share nothing.
        let counter = [call as u32, (call >> 32) as u32, 0, 0];
        let key = [self.dropout_base as u32, (self.dropout_base >> 32) as u32];
        let [low, high, ..] = crate::dropout::philox4x32_10(counter, key);
        u64::from(low) | u64::from(high) << 32
    }
}

impl std::fmt::Debug for GroupedQueryAttention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupedQueryAttention({:?}, {:?}, {:?})", self.config, self.widths, self.gpu)
    }
}

/// A call whose arguments have been checked.
struct Plan<'a> {
    query: &'a Tensor,
    key: &'a Tensor,
    value: &'a Tensor,
    dims: Dims,
    masks: Masks<'a>,
    dropout: Option<Dropout>,
    scores: bool,
    path: AttentionPath,
}

/// An input of the layer, cast if it had to be.
enum Input<'a> {
    AsGiven(&'a Tensor),
    Cast(Workspace),
}

impl Input<'_> {
    fn slot(&self) -> Slot<'_> {
        match self {
            Input::AsGiven(tensor) => tensor.slot(),
            Input::Cast(workspace) => workspace.slot(),
        }
    }
}

impl DenseWeights {
    async fn upload(gpu: &Gpu, projection: &Projection, dtype: DType) -> Result<Self> {
        let bias = match &projection.bias {
            Some(bias) => Some(Tensor::from_array(gpu, bias, dtype).await?),
            None => None,
        };
        Ok(Self { kernel: Tensor::from_array(gpu, &projection.kernel, dtype).await?, bias })
    }

    /// y `[M,N]` = x `[M,K]` · kernel `[K,N]` + bias `[N]`, and with `gated` sigmoid(that) ∘ gated; `sizes` is M, K, N.
    fn apply(
        &self,
        pass: &mut Pass<'_>,
        x: (Slot<'_>, DType),
        gated: Option<Slot<'_>>,
        y: Slot<'_>,
        sizes: [usize; 3],
    ) -> Result<()> {
        let bias = self.bias.as_ref().map(Tensor::slot);
        linear(pass, &Linear { x, w: self.kernel.slot(), bias, w_type: self.kernel.dtype(), gated, y, sizes })
    }
}

/// A seed from the randomness that hash maps use.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
