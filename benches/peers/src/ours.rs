//! gqa, through its public API and on the path that it chooses itself.

use anyhow::Result;
use gqa::wgpu::PollType;
use gqa::{
    AttentionGradients, AttentionOptions, CallOptions, DType, Gpu, Gradients, GroupedQueryAttention, Tensor,
    scaled_dot_product_attention, scaled_dot_product_attention_backward,
};
use pollster::block_on;

use crate::contender::{Contender, Named};
use crate::problem::Problem;
use crate::rows::Row;

pub struct Ours {
    gpu: Gpu,
    row: Row,
    call: Call,
}

enum Call {
    /// q and d_out `[B,T,H,D]`, k and v `[B,S,Hkv,D]`
    Attention { q: Tensor, k: Tensor, v: Tensor, d_out: Tensor },
    /// x and d_output `[B,T,C]`
    Layer { layer: GroupedQueryAttention, x: Tensor, d_output: Tensor },
}

/// What a row leaves on the device.
struct Computed {
    output: Tensor,
    /// In training rows.
    gradients: Option<Backward>,
}

enum Backward {
    Attention(AttentionGradients),
    Layer(Gradients),
}

impl Ours {
    pub fn new(gpu: &Gpu, row: &Row, problem: &Problem) -> Result<Self> {
        let upload = |array| block_on(Tensor::from_array(gpu, array, DType::F32));
        let call = match problem {
            Problem::Attention(heads) => Call::Attention {
                q: upload(&heads.q)?,
                k: upload(&heads.k)?,
                v: upload(&heads.v)?,
                d_out: upload(&heads.d_out)?,
            },
            Problem::Layer(layer) => Call::Layer {
                x: upload(&layer.x)?,
                d_output: upload(&layer.d_output)?,
                layer: block_on(GroupedQueryAttention::from_weights(
                    gpu,
                    layer.config.clone(),
                    &layer.weights,
                ))?,
            },
        };
        Ok(Self { gpu: gpu.clone(), row: *row, call })
    }

    /// The forward half of a training row, to be timed beside the whole.
    pub fn forward_half(&self) -> Option<ForwardHalf<'_>> {
        self.row.training.then_some(ForwardHalf(self))
    }

    fn compute(&self, backward: bool) -> Result<Computed> {
        let use_causal_mask = self.row.causal;
        match &self.call {
            Call::Attention { q, k, v, d_out } => {
                let options = AttentionOptions { use_causal_mask, ..Default::default() };
                let attended = block_on(scaled_dot_product_attention(q, k, v, &options))?;
                let gradients = match backward {
                    true => Some(block_on(scaled_dot_product_attention_backward(
                        q, k, v, &attended, d_out, &options,
                    ))?),
                    false => None,
                };
                Ok(Computed { output: attended.output, gradients: gradients.map(Backward::Attention) })
            }
            Call::Layer { layer, x, d_output } => {
                let training = self.row.training;
                let options = CallOptions { use_causal_mask, training, ..Default::default() };
                if !training {
                    let output = block_on(layer.call(x, x, &options))?.attention_output;
                    return Ok(Computed { output, gradients: None });
                }
                let (called, tape) = block_on(layer.call_with_tape(x, x, &options))?;
                let gradients = match backward {
                    true => Some(block_on(tape.backward(d_output))?),
                    false => None,
                };
                Ok(Computed { output: called.attention_output, gradients: gradients.map(Backward::Layer) })
            }
        }
    }

    fn wait(&self) -> Result<()> {
        self.gpu.device().poll(PollType::wait_indefinitely())?;
        Ok(())
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "gqa"
    }

    fn run(&self) -> Result<()> {
        let _computed = self.compute(self.row.training)?;
        self.wait()
    }

    fn results(&self) -> Result<Vec<Named>> {
        let computed = self.compute(self.row.training)?;
        let mut all = vec![("output".to_string(), &computed.output)];
        match &computed.gradients {
            Some(Backward::Attention(AttentionGradients { dq, dk, dv })) => {
                all.extend([("dq".into(), dq), ("dk".into(), dk), ("dv".into(), dv)]);
            }
            Some(Backward::Layer(Gradients { weights, query, value, .. })) => {
                all.extend(weights.named());
                all.extend([("d_query".into(), query), ("d_value".into(), value)]);
            }
            None => {}
        }
        all.into_iter()
            .map(|(name, tensor)| Ok(Named::new(name, block_on(tensor.to_vec::<f32>())?)))
            .collect()
    }
}

/// The call of a training row without its gradients.
pub struct ForwardHalf<'a>(&'a Ours);

impl Contender for ForwardHalf<'_> {
    fn name(&self) -> &'static str {
        "gqa, forward half"
    }

    fn run(&self) -> Result<()> {
        let _computed = self.0.compute(false)?;
        self.0.wait()
    }

    fn results(&self) -> Result<Vec<Named>> {
        let output = self.0.compute(false)?.output;
        Ok(vec![Named::new("output", block_on(output.to_vec::<f32>())?)])
    }
}
