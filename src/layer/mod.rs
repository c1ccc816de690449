//! The layer and its construction. Its calls are in `call.rs`, the data flow in `forward.rs`, its gradients in `backward.rs`.

#[cfg(feature = "training")]
mod backward;
mod call;
mod forward;
#[cfg(feature = "training")]
mod penalties;
mod plan;
#[cfg(feature = "training")]
mod tape;
mod weights;

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::AtomicU64;

use crate::gpu::{Gpu, Tensor};
use crate::{Config, DType, FeatureWidths, Result, Weights};
pub use call::{CallOptions, CallOutput, OutputTensors};
#[cfg(feature = "training")]
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
    /// In the policy's variable type, if that differs: mixed policies keep f32 master weights.
    pub(crate) variables: Option<Weights<Tensor>>,
    /// The seed from which calls without a seed of their own derive theirs.
    dropout_base: u64,
    dropout_calls: AtomicU64,
}

impl GroupedQueryAttention {
    /// A layer with weights drawn from the config's initializers; `seed` is for initializers without a seed.
    pub async fn new(gpu: &Gpu, config: Config, widths: FeatureWidths, seed: u64) -> Result<Self> {
        let weights = Weights::initialize(&config, widths, seed)?;
        Self::from_weights(gpu, config, &weights).await
    }

    /// A layer with these weights, rounded to the policy's types. Fails if their shapes are not those of the config.
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

    /// The feature widths of the inputs.
    pub fn widths(&self) -> FeatureWidths {
        self.widths
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }
}

impl std::fmt::Debug for GroupedQueryAttention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupedQueryAttention({:?}, {:?}, {:?})", self.config, self.widths, self.gpu)
    }
}

/// A random seed, from the standard library's hash map keys.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
