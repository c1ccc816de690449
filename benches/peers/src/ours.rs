//! gqa, through its public API and on the path that it chooses itself.

use anyhow::Result;
use gqa::wgpu::PollType;
use gqa::{
    AttentionOptions, CallOptions, DType, Gpu, GroupedQueryAttention, Tensor, scaled_dot_product_attention,
};
use pollster::block_on;

use crate::contender::Contender;
use crate::problem::Problem;
use crate::rows::Row;

pub struct Ours {
    gpu: Gpu,
    causal: bool,
    call: Call,
}

enum Call {
    /// q `[B,T,H,D]`, k and v `[B,S,Hkv,D]`
    Attention { q: Tensor, k: Tensor, v: Tensor },
    /// x `[B,T,C]`
    Layer { layer: GroupedQueryAttention, x: Tensor },
}

impl Ours {
    pub fn new(gpu: &Gpu, row: &Row, problem: &Problem) -> Result<Self> {
        let upload = |array| block_on(Tensor::from_array(gpu, array, DType::F32));
        let call = match problem {
            Problem::Attention(heads) => {
                Call::Attention { q: upload(&heads.q)?, k: upload(&heads.k)?, v: upload(&heads.v)? }
            }
            Problem::Layer(layer) => Call::Layer {
                x: upload(&layer.x)?,
                layer: block_on(GroupedQueryAttention::from_weights(
                    gpu,
                    layer.config.clone(),
                    &layer.weights,
                ))?,
            },
        };
        Ok(Self { gpu: gpu.clone(), causal: row.causal, call })
    }

    fn call(&self) -> Result<Tensor> {
        let use_causal_mask = self.causal;
        Ok(match &self.call {
            Call::Attention { q, k, v } => {
                let options = AttentionOptions { use_causal_mask, ..Default::default() };
                block_on(scaled_dot_product_attention(q, k, v, &options))?.output
            }
            Call::Layer { layer, x } => {
                let options = CallOptions { use_causal_mask, ..Default::default() };
                block_on(layer.call(x, x, &options))?.attention_output
            }
        })
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "gqa"
    }

    fn run(&self) -> Result<()> {
        let _output = self.call()?;
        self.gpu.device().poll(PollType::wait_indefinitely())?;
        Ok(())
    }

    fn output(&self) -> Result<Vec<f32>> {
        Ok(block_on(self.call()?.to_vec::<f32>())?)
    }
}
