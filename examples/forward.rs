//! A layer with fresh weights, called on made-up input.

use gqa::{CallOptions, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};

fn main() -> gqa::Result<()> {
    pollster::block_on(async {
        let gpu = Gpu::from_env().await?;
        let config = Config { sliding_window: Some(32), ..Config::new(16, 8, 2) };
        let layer = GroupedQueryAttention::new(&gpu, config, FeatureWidths::all(128), 42).await?;

        let x: Vec<f32> = (0..2 * 100 * 128).map(|i| (i as f32 * 0.37).sin()).collect();
        let x = Tensor::from_slice(&gpu, [2, 100, 128], &x).await?; // [B,T,C]
        let options = CallOptions { use_causal_mask: true, ..Default::default() };
        let output = layer.call(&x, &x, &options).await?.attention_output;

        let first = &output.to_vec::<f32>().await?[..4];
        println!("{gpu:?}: output {:?}, begins with {first:.4?}", output.shape());
        Ok(())
    })
}
