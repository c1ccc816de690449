//! Grouped-query attention (GQA, and with it MHA and MQA) on wgpu: Keras' `GroupQueryAttention` as a complete layer, forward
//! and backward, with the same semantics and the same numbers.
//!
//! ```text
//! query [B,T,C] ─┐                         ┌ key [B,S,Ck]   value [B,S,Cv]   (key = value if not given)
//!                ▼                         ▼
//!         linear  q [B,T,H,D]      linear  k, v [B,S,Hkv,D]      (gate [B,T,H,D] = sigmoid(linear(query)), if use_gate)
//!                └────────────┬────────────┘
//!                             ▼
//!    attention: scores = q·k / √D → mask → softmax → dropout → ·v        out [B,T,H,D], lse [B,H,T]
//!                             ▼
//!                   (× gate) → linear → attention_output [B,T,C]
//! ```
//!
//! | name | meaning |
//! |---|---|
//! | B | batch size |
//! | T | query length |
//! | S | key and value length |
//! | H | query heads, `num_query_heads` |
//! | Hkv | key/value heads, `num_key_value_heads`; divides H |
//! | G | H / Hkv; query head h reads key/value head h / G |
//! | D | `head_dim` |
//! | C, Ck, Cv | feature widths of query (and output), key and value |
//!
//! Everything is row-major. Functions that may wait for the GPU are async; `pollster` is enough to block on them.
//!
//! # A new layer
//!
//! ```
//! use gqa::{CallOptions, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};
//!
//! # pollster::block_on(async {
//! let gpu = Gpu::from_env().await?; // the best adapter, or the one that GQA_ADAPTER names
//! let config = Config::new(16, 4, 2); // D, H, Hkv
//! let layer = GroupedQueryAttention::new(&gpu, config, FeatureWidths::all(64), 7).await?;
//!
//! let x = Tensor::from_slice(&gpu, [1, 10, 64], &[0.1f32; 640]).await?; // [B,T,C]
//! let options = CallOptions { use_causal_mask: true, ..Default::default() };
//! let output = layer.call(&x, &x, &options).await?.attention_output; // [B,T,C]
//! assert_eq!(output.to_vec::<f32>().await?.len(), 640);
//! # Ok::<(), gqa::Error>(()) }).unwrap();
//! ```
//!
//! Weights that Keras saved come from [`keras::ModelFile`].
//!
//! # Your own device, buffers and encoder
//!
//! [`encode`](GroupedQueryAttention::encode) records into your encoder: nothing is copied, submitted or waited for.
//!
//! ```
//! use gqa::{Config, DType, FeatureWidths, Gpu, GroupedQueryAttention, Tensor, wgpu};
//!
//! # pollster::block_on(async {
//! let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
//! let adapter = instance.request_adapter(&Default::default()).await?;
//! let (device, queue) = adapter.request_device(&Default::default()).await?;
//! let buffer = device.create_buffer(&wgpu::BufferDescriptor {
//!     label: Some("activations"),
//!     size: 10 * 64 * 4,
//!     usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
//!     mapped_at_creation: false,
//! });
//!
//! let gpu = Gpu::from_wgpu(&adapter, device.clone(), queue.clone())?;
//! let layer = GroupedQueryAttention::new(&gpu, Config::new(16, 4, 2), FeatureWidths::all(64), 7).await?;
//! let x = Tensor::from_buffer(&gpu, buffer, 0, [1, 10, 64], DType::F32)?; // [B,T,C]
//! let options = Default::default();
//! let output = layer.allocate_output(&x, &x, &options).await?; // once, for every frame
//!
//! let mut encoder = device.create_command_encoder(&Default::default());
//! layer.encode(&mut encoder, &x, &x, &options, &output)?;
//! queue.submit([encoder.finish()]);
//! assert_eq!(output.attention_output.shape(), [1, 10, 64]);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # A training step
//!
#![cfg_attr(feature = "training", doc = "```")]
#![cfg_attr(not(feature = "training"), doc = "```ignore")]
//! use gqa::training::{Optimizer, mean_squared_error};
//! use gqa::{CallOptions, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};
//!
//! # pollster::block_on(async {
//! # let gpu = Gpu::from_env().await?;
//! let mut layer = GroupedQueryAttention::new(&gpu, Config::new(16, 4, 2), FeatureWidths::all(64), 7).await?;
//! let mut optimizer = Optimizer::adamw().with_learning_rate(1e-3);
//! # let x = Tensor::from_slice(&gpu, [1, 10, 64], &[0.1f32; 640]).await?;
//! # let target = Tensor::from_slice(&gpu, [1, 10, 64], &[0.3f32; 640]).await?;
//! let options = CallOptions { use_causal_mask: true, training: true, ..Default::default() };
//!
//! let (called, tape) = layer.call_with_tape(&x, &x, &options).await?;
//! let loss = mean_squared_error(&called.attention_output, &target).await?;
//! let gradients = tape.backward(&loss.gradient).await?; // of the weights, and of query, value and key
//! layer.step(&mut optimizer, &gradients).await?;
//! assert_eq!(optimizer.iterations(), 1);
//! # Ok::<(), gqa::Error>(()) }).unwrap();
//! ```
//!
//! # Where things are
//!
//! | | |
//! |---|---|
//! | [`Gpu`], [`Tensor`] | a device and its arrays |
//! | [`GroupedQueryAttention`], [`Config`], [`Weights`] | the layer |
//! | [`scaled_dot_product_attention`] | attention alone, for q, k and v that are projected already; and [its gradients](scaled_dot_product_attention_backward) |
//! | [`keras`] | files of Keras and safetensors, read and written |
//! | [`initializers`], [`training`] | first weights; losses and optimizers |
//! | [`mod@reference`], [`conformance`] | the layer on the CPU in f64; checks of an adapter against it |
//! | [`mod@bench`] | the benchmark suite |
//!
//! # Cargo features
//!
//! All are on by default. Without them there are attention, its gradients, and the layer in inference.
//!
//! | feature | what it adds | crates that it needs |
//! |---|---|---|
//! | `keras` | [`keras`]: files of Keras and safetensors, and [`Config`] from and to Keras' JSON | hdf5-pure, safetensors, zip |
//! | `training` | [`training`], and the layer's gradients: [`Tape`], [`Gradients`] | |
//! | `bench` | [`mod@bench`] and [`conformance`]; turns on `training` | |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(all(test, not(all(feature = "bench", feature = "keras", feature = "training"))))]
compile_error!("the unit tests need the default features");

/// What tests wait with.
#[cfg(all(test, target_arch = "wasm32"))]
extern crate gqa_block_on as pollster;

mod arguments;
mod array;
mod attention;
#[cfg(feature = "bench")]
pub mod bench;
mod config;
#[cfg(feature = "bench")]
pub mod conformance;
mod dropout;
mod dtype;
#[cfg(feature = "keras")]
mod elements;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod files;
mod gpu;
pub mod initializers;
#[cfg(feature = "keras")]
pub mod keras;
mod kernels;
mod layer;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod layering_tests;
#[cfg(any(feature = "keras", feature = "training"))]
mod named_tensor;
pub mod reference;
#[cfg(feature = "keras")]
mod safetensors;
mod shaders;
mod shapes;
mod terms;
#[cfg(test)]
#[allow(dead_code, unreachable_pub)]
mod testing;
#[cfg(feature = "training")]
pub mod training;
mod tuning;
mod weights;

pub use array::Array;
pub use attention::{
    AttentionGradients, AttentionOptions, AttentionOutput, AttentionPath, AttentionTensors,
    allocate_attention_output, encode_scaled_dot_product_attention, scaled_dot_product_attention,
    scaled_dot_product_attention_backward, tune_scaled_dot_product_attention,
};
pub use config::Config;
pub use dropout::{Dropout, philox4x32_10};
pub use dtype::{DType, DTypePolicy};
pub use error::{Error, Result};
pub use gpu::{
    AdapterFacts, Choice, ChoiceSource, CooperativeMatrix, Element, Gpu, GpuUsage, Tensor, Tuning, adapters,
};
pub use initializers::Initializer;
pub use kernels::forms::forms;
pub use layer::{CallOptions, CallOutput, GroupedQueryAttention, OutputTensors};
#[cfg(feature = "training")]
pub use layer::{Gradients, Tape};
#[cfg(any(feature = "keras", feature = "training"))]
pub use named_tensor::{NamedTensor, TensorData};
pub use terms::{Constraint, OrthogonalMode, Regularizer};
pub use weights::{FeatureWidths, Projection, Shaped, WeightSpec, Weights, weight_specs};
pub use wgpu;

/// The examples of the README and of `docs/` compile.
#[cfg(all(doctest, feature = "keras", feature = "training"))]
mod documentation {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/keras.md")]
    struct Keras;
    #[doc = include_str!("../docs/training.md")]
    struct Training;
}
