//! burn on the same adapter, in one of its [forms](crate::forms), with or without autodiff.
//!
//! In rows of attention alone q, k and v lie as burn wants them, `[B,H,T,D]` and `[B,Hkv,S,D]`, and a causal mask that a
//! form needs as a tensor is made beforehand. Repeating k and v, where a form does that, counts into its time.

use anyhow::{Context, Error, Result, bail, ensure};
use burn::tensor::module::linear;
use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::{Device, DeviceKind, Gradients, Tensor, TensorData};
use gqa::wgpu::{AdapterInfo, Backend, DeviceType};
use gqa::{Array, Projection};

use crate::contender::{Adapter, Contender, Named};
use crate::forms::{Attend, Form};
use crate::problem::{Heads, Layer, Problem};
use crate::rows::Row;

/// The release that this is built with.
pub const VERSION: &str = if cfg!(feature = "prerelease") { "0.23.0-pre.1" } else { "0.22.1" };

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
    let device = if row.training { device.clone().autodiff() } else { device.clone() };
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    for form in Form::of(row) {
        let upload = Upload { device: &device, training: row.training };
        let call = match problem {
            Problem::Attention(heads) => Call::attention(&upload, heads)?,
            Problem::Layer(layer) => Call::layer(&upload, layer)?,
        };
        let attend = Attend::new(&device, row, form);
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
    /// q and d_out `[B,H,T,D]`, k and v `[B,Hkv,S,D]`
    Attention { q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, d_out: Tensor<4> },
    /// query, value and d_output `[B,T,C]`; query and value hold the same.
    Layer { inputs: [Tensor<3>; 2], projections: [Dense; 4], d_output: Tensor<3> },
}

/// The projections of a layer, in the order of [`Call::Layer`].
const PROJECTIONS: [&str; 4] = ["query", "key", "value", "attention_output"];

/// A projection: weight `[in, out]`, bias `[out]`.
struct Dense {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

/// A result on the device, in whatever shape.
enum Computed {
    /// `[B,H,T,D]`, which gqa has as `[B,T,H,D]`.
    Heads(Tensor<4>),
    Features(Tensor<3>),
    Matrix(Tensor<2>),
    Vector(Tensor<1>),
}

impl Contender for Burn {
    fn name(&self) -> &'static str {
        self.attend.form().name()
    }

    fn run(&self) -> Result<()> {
        // Kept until the end: what nobody holds is not computed.
        let _computed = self.compute()?;
        self.device.sync().map_err(root_cause)
    }

    fn results(&self) -> Result<Vec<Named>> {
        self.compute()?.into_iter().map(|(name, tensor)| Ok(Named::new(name, tensor.read()?))).collect()
    }
}

/// The last of the causes in the text of one of burn's errors, which lists all that failed on its account too.
fn root_cause(error: impl std::fmt::Debug) -> Error {
    let text = format!("{error:?}");
    let cause = text.rsplit("Caused by:").next().unwrap_or(&text);
    Error::msg(cause.trim().lines().next().unwrap_or_default().to_string())
}

impl Burn {
    /// The output, and the gradients in a training row.
    fn compute(&self) -> Result<Vec<(String, Computed)>> {
        let Row { batch: b, query_len: t, key_len: s, query_heads: h, key_heads: hkv, head_dim: d, .. } =
            self.row;
        match &self.call {
            Call::Attention { q, k, v, d_out } => {
                let out = self.attend.apply(q.clone(), k.clone(), v.clone());
                let mut all = vec![("output".into(), Computed::Heads(out.clone()))];
                if self.row.training {
                    // Starts from ones, so that d_out is the gradient of `out`, and no sum need be made.
                    let mut gradients = (out * d_out.clone()).backward();
                    for (name, tensor) in [("dq", q), ("dk", k), ("dv", v)] {
                        all.push((name.into(), Computed::Heads(take(name, tensor, &mut gradients)?)));
                    }
                }
                Ok(all)
            }
            Call::Layer { inputs: [query_input, value_input], projections, d_output } => {
                let [query, key, value, attention_output] = projections;
                let q = query.apply(query_input.clone()).reshape([b, t, h, d]).swap_dims(1, 2);
                let k = key.apply(value_input.clone()).reshape([b, s, hkv, d]).swap_dims(1, 2);
                let v = value.apply(value_input.clone()).reshape([b, s, hkv, d]).swap_dims(1, 2);
                let out = self.attend.apply(q, k, v).swap_dims(1, 2).reshape([b, t, h * d]);
                let output = attention_output.apply(out);
                let mut all = vec![("output".into(), Computed::Features(output.clone()))];
                if self.row.training {
                    let mut gradients = (output * d_output.clone()).backward();
                    for (name, projection) in PROJECTIONS.iter().zip(projections) {
                        projection.take(name, &mut gradients, &mut all)?;
                    }
                    for (name, input) in [("d_query", query_input), ("d_value", value_input)] {
                        all.push((name.into(), Computed::Features(take(name, input, &mut gradients)?)));
                    }
                }
                Ok(all)
            }
        }
    }
}

fn take<const N: usize>(name: &str, tensor: &Tensor<N>, gradients: &mut Gradients) -> Result<Tensor<N>> {
    tensor.grad_remove(gradients).with_context(|| format!("no gradient of {name}"))
}

impl Computed {
    fn read(self) -> Result<Vec<f32>> {
        let data = match self {
            Computed::Heads(tensor) => tensor.swap_dims(1, 2).try_into_data(),
            Computed::Features(tensor) => tensor.try_into_data(),
            Computed::Matrix(tensor) => tensor.try_into_data(),
            Computed::Vector(tensor) => tensor.try_into_data(),
        };
        data.map_err(root_cause)?.try_to_vec().map_err(root_cause)
    }
}

/// Puts a row's inputs on the device.
struct Upload<'a> {
    device: &'a Device,
    training: bool,
}

impl Upload<'_> {
    /// A constant.
    fn constant<const N: usize>(&self, values: Vec<f32>, shape: [usize; N]) -> Tensor<N> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    /// What has a gradient in training rows.
    fn leaf<const N: usize>(&self, values: Vec<f32>, shape: [usize; N]) -> Tensor<N> {
        let tensor = self.constant(values, shape);
        if self.training { tensor.require_grad() } else { tensor }
    }
}

impl Call {
    fn attention(upload: &Upload, heads: &Heads) -> Result<Self> {
        // Through the host, so that the device holds [B,H,T,D] and no view of [B,T,H,D].
        let heads_first = |array: &Array| -> Result<(Vec<f32>, [usize; 4])> {
            let [b, t, h, d] = *array.shape() else { bail!("not [B,T,H,D]: {:?}", array.shape()) };
            let swapped = Array::from_fn([b, h, t, d], |index| {
                let (d_, t_, h_, b_) = (index % d, index / d % t, index / (d * t) % h, index / (d * t * h));
                array.data()[((b_ * t + t_) * h + h_) * d + d_]
            });
            Ok((swapped.into_data(), [b, h, t, d]))
        };
        let leaf = |array| heads_first(array).map(|(values, shape)| upload.leaf(values, shape));
        let (d_out, shape) = heads_first(&heads.d_out)?;
        Ok(Self::Attention {
            q: leaf(&heads.q)?,
            k: leaf(&heads.k)?,
            v: leaf(&heads.v)?,
            d_out: upload.constant(d_out, shape),
        })
    }

    fn layer(upload: &Upload, layer: &Layer) -> Result<Self> {
        let [b, t, c] = *layer.x.shape() else { bail!("not [B,T,C]: {:?}", layer.x.shape()) };
        let weights = &layer.weights;
        let output = &weights.attention_output;
        let inputs = || upload.leaf(layer.x.data().to_vec(), [b, t, c]);
        Ok(Self::Layer {
            inputs: [inputs(), inputs()],
            projections: [
                Dense::new(upload, &weights.query, c),
                Dense::new(upload, &weights.key, c),
                Dense::new(upload, &weights.value, c),
                Dense::new(upload, output, output.kernel.data().len() / c),
            ],
            d_output: upload.constant(layer.d_output.data().to_vec(), [b, t, c]),
        })
    }
}

impl Dense {
    /// Keras' kernels are row-major `[inputs, outputs]` whatever their axes, and so are burn's.
    fn new(upload: &Upload, projection: &Projection, inputs: usize) -> Self {
        let kernel = projection.kernel.data();
        let bias = projection.bias.as_ref().map(|bias| {
            let data = bias.data();
            upload.leaf(data.to_vec(), [data.len()])
        });
        Self { weight: upload.leaf(kernel.to_vec(), [inputs, kernel.len() / inputs]), bias }
    }

    /// `[B,T,in]` → `[B,T,out]`
    fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        linear(x, self.weight.clone(), self.bias.clone())
    }

    /// Adds the gradients of both, under gqa's names.
    fn take(&self, name: &str, gradients: &mut Gradients, all: &mut Vec<(String, Computed)>) -> Result<()> {
        let kernel = format!("{name}/kernel");
        let gradient = take(&kernel, &self.weight, gradients)?;
        all.push((kernel, Computed::Matrix(gradient)));
        if let Some(bias) = &self.bias {
            let name = format!("{name}/bias");
            let gradient = take(&name, bias, gradients)?;
            all.push((name, Computed::Vector(gradient)));
        }
        Ok(())
    }
}
