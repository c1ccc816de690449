//! A case with its tensors on the GPU, ready to be recorded again and again.

use super::RowKind;
use super::case::{Case, Extra, Sizes};
use crate::gpu::Pass;
use crate::kernels::linear::{Form, Linear, Operands, forms, linear};
use crate::{
    AttentionOptions, AttentionPath, AttentionTensors, CallOptions, DType, Dropout, Element, Error,
    FeatureWidths, Gpu, GroupedQueryAttention, OutputTensors, Result, Tensor, allocate_attention_output,
    encode_scaled_dot_product_attention, tune_scaled_dot_product_attention, tuning,
};

/// A case that can be recorded.
pub(super) enum Prepared {
    Layer {
        layer: Box<GroupedQueryAttention>,
        /// `[B,T,C]`: query, key and value.
        x: Tensor,
        options: CallOptions<'static>,
        output: OutputTensors,
    },
    Attention {
        /// `[B,T,H,D]`
        q: Tensor,
        /// `[B,S,Hkv,D]`
        k: Tensor,
        /// `[B,S,Hkv,D]`
        v: Tensor,
        masks: Masks,
        output: AttentionTensors,
    },
    Linear {
        /// `[M,K]`
        x: Tensor,
        /// `[K,N]`
        w: Tensor,
        /// `[N]`
        bias: Tensor,
        /// `[M,N]` f32
        y: Tensor,
        /// M, K, N
        sizes: [usize; 3],
        /// `None` is the one that calls take.
        form: Option<Form>,
    },
}

/// What hides keys, and what drops them.
pub(super) struct Masks {
    causal: bool,
    window: Option<usize>,
    /// `[T,S]`
    attention_mask: Option<Tensor>,
    /// `[B,S]`
    key_mask: Option<Tensor>,
    dropout: Option<Dropout>,
}

impl Masks {
    fn options(&self) -> AttentionOptions<'_> {
        AttentionOptions {
            use_causal_mask: self.causal,
            sliding_window: self.window,
            attention_mask: self.attention_mask.as_ref(),
            key_mask: self.key_mask.as_ref(),
            dropout: self.dropout,
            ..AttentionOptions::default()
        }
    }
}

impl Prepared {
    /// Uploads what a case needs. With `tuned`, kernels are tuned as a call tunes them.
    pub(super) async fn new(gpu: &Gpu, case: &Case, tuned: bool) -> Result<Self> {
        let Sizes { batch, query_len, key_len, query_heads, key_heads, head_dim, features } = case.sizes;
        let dtype = case.dtype;
        match case.kind {
            RowKind::Layer => {
                let widths = FeatureWidths::all(features);
                let layer = Box::new(GroupedQueryAttention::new(gpu, case.config(), widths, 1).await?);
                let x = floats(gpu, &[batch, query_len, features], dtype).await?;
                let options = CallOptions { use_causal_mask: case.span.causal, ..CallOptions::default() };
                if tuned {
                    layer.tune(&x, &x, &options).await?;
                }
                let output = layer.allocate_output(&x, &x, &options).await?;
                Ok(Self::Layer { layer, x, options, output })
            }
            RowKind::Attention => {
                let q = floats(gpu, &[batch, query_len, query_heads, head_dim], dtype).await?;
                let k = floats(gpu, &[batch, key_len, key_heads, head_dim], dtype).await?;
                let v = floats(gpu, &[batch, key_len, key_heads, head_dim], dtype).await?;
                let masks = Masks {
                    causal: case.span.causal,
                    window: case.span.window,
                    attention_mask: match case.extra {
                        Extra::AttentionMask => Some(mask(gpu, [query_len, key_len], 4).await?),
                        _ => None,
                    },
                    key_mask: match case.extra {
                        Extra::KeyMask => Some(mask(gpu, [batch, key_len], 8).await?),
                        _ => None,
                    },
                    dropout: (case.extra == Extra::Dropout).then_some(Dropout {
                        probability: 0.1,
                        seed: 1,
                        q_offset: 0,
                        batch_offset: 0,
                    }),
                };
                if tuned {
                    tune_scaled_dot_product_attention(&q, &k, &v, &masks.options()).await?;
                }
                let output = allocate_attention_output(&q, &k, &v, &masks.options()).await?;
                Ok(Self::Attention { q, k, v, masks, output })
            }
            RowKind::Linear => {
                let sizes @ [m, k, n] = [batch * query_len, features, query_heads * head_dim];
                let form = case.form.map(|name| linear_form(gpu, name)).transpose()?;
                if tuned && form.is_none() {
                    tuning::tune(&projection(sizes, dtype), gpu).await?;
                }
                Ok(Self::Linear {
                    x: floats(gpu, &[m, k], dtype).await?,
                    w: floats(gpu, &[k, n], dtype).await?,
                    bias: floats(gpu, &[n], dtype).await?,
                    y: Tensor::empty(gpu, [m, n], DType::F32).await?,
                    sizes,
                    form,
                })
            }
        }
    }

    /// Records one run. Returns the path and the variants that it takes, in words.
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder) -> Result<String> {
        match self {
            Self::Layer { layer, x, options, output } => {
                let called = layer.encode(encoder, x, x, options, output)?;
                Ok(variant(called.path, called.attention_form))
            }
            Self::Attention { q, k, v, masks, output } => {
                let options = masks.options();
                let run = encode_scaled_dot_product_attention(encoder, q, k, v, &options, output)?;
                Ok(variant(run.path, run.form))
            }
            Self::Linear { x, w, bias, y, sizes, form } => {
                let gpu = x.gpu();
                let projection = projection(*sizes, x.dtype());
                let refuse = || Error::argument("bench", "form", "one that fits this device", "another");
                let form = form.or_else(|| tuning::form(&projection, gpu)).ok_or_else(refuse)?;
                let mut pass = Pass::begin(gpu, encoder);
                let operands = Operands {
                    x: x.operand(),
                    w: w.operand(),
                    bias: Some(bias.range()),
                    multiplicand: None,
                    y: y.range(),
                    add: false,
                };
                linear(&mut pass, &projection, &operands, form)?;
                Ok(form.name.into())
            }
        }
    }
}

fn projection(sizes: [usize; 3], dtype: DType) -> Linear {
    Linear { sizes, x: dtype, w: dtype }
}

/// The form of this name, if the device can run it.
fn linear_form(gpu: &Gpu, name: &'static str) -> Result<Form> {
    let device = gpu.capabilities(None);
    let known = forms::FORMS.iter().find(|form| form.name == name && form.fits(&device));
    known.copied().ok_or_else(|| Error::argument("bench", "form", "one that fits this device", name))
}

fn variant(path: AttentionPath, form: Option<&str>) -> String {
    let path = match path {
        AttentionPath::Fused => "fused",
        AttentionPath::Chained => "chained",
    };
    form.map_or(path.into(), |form| format!("{path} {form}"))
}

/// So many values are drawn, and repeated: no power of two, so that rows differ.
const DRAWN: usize = 65_532;

/// Values in [−1, 1): what they are makes no difference to the time, as long as none is denormal or not a number.
async fn floats(gpu: &Gpu, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let drawn: Vec<f32> = noise().map(|bits| (bits >> 8) as f32 / 8_388_608.0 - 1.0).collect();
    let bytes = match dtype {
        DType::F16 => half::f16::to_bytes(&drawn.into_iter().map(half::f16::from_f32).collect::<Vec<_>>()),
        DType::Bf16 => half::bf16::to_bytes(&drawn.into_iter().map(half::bf16::from_f32).collect::<Vec<_>>()),
        DType::F32 | DType::Bool => f32::to_bytes(&drawn),
    };
    filled(gpu, shape, dtype, &bytes).await
}

/// A mask that hides one element in `hidden`, scattered, so that no block of them can be left out.
async fn mask(gpu: &Gpu, shape: [usize; 2], hidden: u32) -> Result<Tensor> {
    let drawn: Vec<bool> = noise().map(|bits| (bits >> 8) % hidden != 0).collect();
    filled(gpu, &shape, DType::Bool, &bool::to_bytes(&drawn)).await
}

/// A tensor of these bytes again and again: the host never holds all of it.
async fn filled(gpu: &Gpu, shape: &[usize], dtype: DType, bytes: &[u8]) -> Result<Tensor> {
    let tensor = Tensor::empty(gpu, shape, dtype).await?;
    let size = (shape.iter().product::<usize>() * dtype.size()).next_multiple_of(4);
    gpu.checked("bench", || {
        for begin in (0..size).step_by(bytes.len()) {
            let part = &bytes[..bytes.len().min(size - begin)];
            gpu.queue().write_buffer(tensor.buffer(), begin as u64, part);
        }
        gpu.queue().submit([]);
        Ok(tensor)
    })
    .await
}

/// [`DRAWN`] numbers of a linear congruential generator (Numerical Recipes), whose upper bits are scattered enough.
fn noise() -> impl Iterator<Item = u32> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(1u32), next).take(DRAWN)
}
