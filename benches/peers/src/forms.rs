//! burn, in each form in which its users write grouped-query attention.
//!
//! In rows of attention alone q, k and v lie as burn wants them, `[B,H,T,D]` and `[B,Hkv,S,D]`, and a causal mask that a
//! form needs as a tensor is made beforehand. Repeating k and v, where a form does that, counts into its time.

use anyhow::{Error, Result, bail, ensure};
use burn::tensor::activation::softmax;
use burn::tensor::module::{attention, attention_fallback, linear};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::{Bool, Device, DeviceKind, Tensor, TensorData};
use gqa::wgpu::{AdapterInfo, Backend, DeviceType};
use gqa::{Array, Projection};

use crate::contender::{Adapter, Contender};
use crate::problem::{Heads, Layer, Problem};
use crate::rows::Row;

/// The release that this is built with.
pub const VERSION: &str = if cfg!(feature = "prerelease") { "0.23.0-pre.1" } else { "0.22.1" };

/// Whether `attention` takes k and v of fewer heads than q.
const GROUPS: bool = cfg!(feature = "prerelease");

/// A way to write attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `attention`, which is burn's fused kernel where it has one for the device, on k and v repeated to H heads.
    Attention,
    /// `attention` on k and v as they are.
    AttentionGrouped,
    /// `attention` with the query heads of a group as further queries: q `[B,Hkv,G·T,D]`.
    AttentionFolded,
    /// `attention_fallback`, burn's own composition of separate operations.
    Composed,
    /// matmul, softmax, matmul on k and v repeated to H heads.
    MatmulRepeated,
    /// The same with the query heads of a group as further rows, which repeats nothing.
    MatmulFolded,
    /// The same in five axes, where matmul itself broadcasts k and v over the group.
    MatmulBroadcast,
}

const FORMS: [Form; 7] = [
    Form::Attention,
    Form::AttentionGrouped,
    Form::AttentionFolded,
    Form::Composed,
    Form::MatmulRepeated,
    Form::MatmulFolded,
    Form::MatmulBroadcast,
];

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Attention => "attention, repeated",
            Form::AttentionGrouped => "attention, grouped",
            Form::AttentionFolded => "attention, folded",
            Form::Composed if GROUPS => "attention_fallback, grouped",
            Form::Composed => "attention_fallback, repeated",
            Form::MatmulRepeated => "matmul, repeated",
            Form::MatmulFolded => "matmul, folded",
            Form::MatmulBroadcast => "matmul, broadcast",
        }
    }
}

/// burn's device on the adapter that gqa runs on.
pub fn open(wanted: &AdapterInfo) -> Result<(Device, Adapter)> {
    let kind = match wanted.device_type {
        DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(0),
        DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(0),
        DeviceType::VirtualGpu => DeviceKind::VirtualGpu(0),
        DeviceType::Cpu => DeviceKind::Cpu,
        DeviceType::Other => DeviceKind::DefaultDevice,
    };
    let api = match wanted.backend {
        Backend::Vulkan => WgpuBackend::Vulkan,
        Backend::Metal => WgpuBackend::Metal,
        Backend::Dx12 => WgpuBackend::Dx12,
        Backend::Gl => WgpuBackend::Gl,
        other => bail!("burn has no device on {other}"),
    };
    let (device, setup) = Device::wgpu_options().device_kind(kind).graphics_api(api).init_with_setup()?;
    let adapter = Adapter::new(&setup.adapter.get_info());
    let ours = Adapter::new(wanted);
    ensure!(adapter == ours, "burn chose {adapter}, gqa {ours}: name another with GQA_ADAPTER");
    Ok((device, adapter))
}

/// Every form in which burn computes this row.
pub fn contenders(device: &Device, row: &Row, problem: &Problem) -> Result<Vec<Box<dyn Contender>>> {
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    for form in FORMS {
        // The stable release neither groups nor notices.
        if form == Form::AttentionGrouped && !GROUPS {
            continue;
        }
        let attend = Attend::new(device, row, form);
        let call = match problem {
            Problem::Attention(heads) => Call::attention(device, heads)?,
            Problem::Layer(layer) => Call::layer(device, layer)?,
        };
        contenders.push(Box::new(Burn { device: device.clone(), row: *row, attend, call }));
    }
    Ok(contenders)
}

struct Burn {
    device: Device,
    row: Row,
    attend: Attend,
    call: Call,
}

enum Call {
    /// q `[B,H,T,D]`, k and v `[B,Hkv,S,D]`
    Attention { q: Tensor<4>, k: Tensor<4>, v: Tensor<4> },
    /// x `[B,T,C]`
    Layer { x: Tensor<3>, query: Dense, key: Dense, value: Dense, attention_output: Dense },
}

/// What a call computes, in burn's own layout.
enum Output {
    /// `[B,H,T,D]`
    Heads(Tensor<4>),
    /// `[B,T,C]`
    Features(Tensor<3>),
}

/// A projection: weight `[in, out]`, bias `[out]`.
struct Dense {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Contender for Burn {
    fn name(&self) -> &'static str {
        self.attend.form.name()
    }

    fn run(&self) -> Result<()> {
        // Kept until the end: what nobody holds is not computed.
        let _output = self.compute();
        self.device.sync().map_err(root_cause)
    }

    fn output(&self) -> Result<Vec<f32>> {
        let data = match self.compute() {
            Output::Heads(out) => out.swap_dims(1, 2).try_into_data(),
            Output::Features(out) => out.try_into_data(),
        };
        data.map_err(root_cause)?.try_to_vec().map_err(root_cause)
    }
}

/// The last of the causes in the text of one of burn's errors, which lists all that failed on its account too.
fn root_cause(error: impl std::fmt::Debug) -> Error {
    let text = format!("{error:?}");
    let cause = text.rsplit("Caused by:").next().unwrap_or(&text);
    Error::msg(cause.trim().lines().next().unwrap_or_default().to_string())
}

impl Burn {
    fn compute(&self) -> Output {
        let Row { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d, .. } =
            self.row;
        match &self.call {
            Call::Attention { q, k, v } => Output::Heads(self.attend.apply(q.clone(), k.clone(), v.clone())),
            Call::Layer { x, query, key, value, attention_output } => {
                let q = query.apply(x.clone()).reshape([b, t, h, d]).swap_dims(1, 2);
                let k = key.apply(x.clone()).reshape([b, s, hkv, d]).swap_dims(1, 2);
                let v = value.apply(x.clone()).reshape([b, s, hkv, d]).swap_dims(1, 2);
                let out = self.attend.apply(q, k, v).swap_dims(1, 2).reshape([b, t, h * d]);
                Output::Features(attention_output.apply(out))
            }
        }
    }
}

impl Call {
    fn attention(device: &Device, heads: &Heads) -> Result<Self> {
        let upload = |array: &Array| -> Result<Tensor<4>> {
            let [b, t, h, d] = *array.shape() else { bail!("not [B,T,H,D]: {:?}", array.shape()) };
            // Through the host, so that the device holds [B,H,T,D] and no view of [B,T,H,D].
            let heads_first = Array::from_fn([b, h, t, d], |index| {
                let (d_, t_, h_, b_) = (index % d, index / d % t, index / (d * t) % h, index / (d * t * h));
                array.data()[((b_ * t + t_) * h + h_) * d + d_]
            });
            Ok(Tensor::from_data(TensorData::new(heads_first.into_data(), [b, h, t, d]), device))
        };
        Ok(Self::Attention { q: upload(&heads.q)?, k: upload(&heads.k)?, v: upload(&heads.v)? })
    }

    fn layer(device: &Device, layer: &Layer) -> Result<Self> {
        let [b, t, c] = *layer.x.shape() else { bail!("not [B,T,C]: {:?}", layer.x.shape()) };
        let weights = &layer.weights;
        let output = &weights.attention_output;
        Ok(Self::Layer {
            x: Tensor::from_data(TensorData::new(layer.x.data().to_vec(), [b, t, c]), device),
            query: Dense::new(device, &weights.query, c),
            key: Dense::new(device, &weights.key, c),
            value: Dense::new(device, &weights.value, c),
            attention_output: Dense::new(device, output, output.kernel.data().len() / c),
        })
    }
}

impl Dense {
    /// Keras' kernels are row-major `[inputs, outputs]` whatever their axes, and so are burn's.
    fn new(device: &Device, projection: &Projection, inputs: usize) -> Self {
        let kernel = projection.kernel.data();
        let weight = TensorData::new(kernel.to_vec(), [inputs, kernel.len() / inputs]);
        let bias = projection.bias.as_ref().map(|bias| {
            let data = bias.data();
            Tensor::from_data(TensorData::new(data.to_vec(), [data.len()]), device)
        });
        Self { weight: Tensor::from_data(weight, device), bias }
    }

    /// `[B,T,in]` → `[B,T,out]`
    fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        linear(x, self.weight.clone(), self.bias.clone())
    }
}

/// Attention in one form.
struct Attend {
    form: Form,
    row: Row,
    /// True hides: `[1,1,T,S]`, or `[1,1,G·T,S]` where `attention` gets folded queries.
    hidden: Option<Tensor<4, Bool>>,
}

impl Attend {
    fn new(device: &Device, row: &Row, form: Form) -> Self {
        let (t, s) = (row.query_len, row.key_len);
        let hidden = row.causal.then(|| {
            let hidden = Tensor::<2, Bool>::tril_mask([t, s], 0, device).reshape([1, 1, t, s]);
            let copies = if form == Form::AttentionFolded { row.group_size() } else { 1 };
            Tensor::cat(vec![hidden; copies], 2)
        });
        Self { form, row: *row, hidden }
    }

    /// q `[B,H,T,D]`, k and v `[B,Hkv,S,D]` → `[B,H,T,D]`
    fn apply(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        let Row { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d, .. } =
            self.row;
        let g = self.row.group_size();
        let options = AttentionModuleOptions { is_causal: self.row.causal, ..Default::default() };
        match self.form {
            Form::Attention => attention(q, self.repeat(k), self.repeat(v), None, None, options),
            Form::AttentionGrouped => attention(q, k, v, None, None, options),
            Form::AttentionFolded => {
                let hidden = self.hidden.clone().map(|hidden| hidden.expand([b, hkv, g * t, s]));
                let q = q.reshape([b, hkv, g * t, d]);
                attention(q, k, v, hidden, None, Default::default()).reshape([b, h, t, d])
            }
            Form::Composed if GROUPS => attention_fallback(q, k, v, None, None, options),
            Form::Composed => attention_fallback(q, self.repeat(k), self.repeat(v), None, None, options),
            Form::MatmulRepeated => {
                let probs = self.probs(self.scaled(q).matmul(self.repeat(k).transpose()));
                probs.matmul(self.repeat(v))
            }
            Form::MatmulFolded => {
                let scores = self.scaled(q).reshape([b, hkv, g * t, d]).matmul(k.transpose());
                let probs = self.probs(scores.reshape([b, h, t, s]));
                probs.reshape([b, hkv, g * t, s]).matmul(v).reshape([b, h, t, d])
            }
            Form::MatmulBroadcast => {
                let q = self.scaled(q).reshape([b, hkv, g, t, d]);
                let (k, v) = (k.unsqueeze_dim::<5>(2), v.unsqueeze_dim::<5>(2));
                let probs = self.probs(q.matmul(k.transpose()).reshape([b, h, t, s]));
                probs.reshape([b, hkv, g, t, s]).matmul(v).reshape([b, h, t, d])
            }
        }
    }

    /// `[B,Hkv,S,D]` → `[B,H,S,D]`, a copy.
    fn repeat(&self, heads: Tensor<4>) -> Tensor<4> {
        let Row { batch: b, key_len: s, query_heads: h, key_heads: hkv, head_dim: d, .. } = self.row;
        heads.unsqueeze_dim::<5>(2).expand([b, hkv, self.row.group_size(), s, d]).reshape([b, h, s, d])
    }

    fn scaled(&self, q: Tensor<4>) -> Tensor<4> {
        q.mul_scalar(1.0 / (self.row.head_dim as f64).sqrt())
    }

    /// Scores `[B,H,T,S]` → probabilities.
    fn probs(&self, scores: Tensor<4>) -> Tensor<4> {
        let scores = match &self.hidden {
            Some(hidden) => {
                let shape = scores.dims();
                scores.mask_fill(hidden.clone().expand(shape), f32::NEG_INFINITY)
            }
            None => scores,
        };
        softmax(scores, 3)
    }
}
