//! A layer out of a model that Keras saved.
//!
//!     cargo run --example keras_model [MODEL.keras [LAYER]]

use gqa::keras::ModelFile;
use gqa::{CallOptions, Gpu, GroupedQueryAttention, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keras-3.15.1/demo.keras").into()
    });
    let model = ModelFile::from_bytes(std::fs::read(&path)?)?;
    for layer in model.layers() {
        println!("{path} has `{}`", layer.name());
    }
    let layer = model.layer(args.next().as_deref())?;
    let (config, weights) = (layer.config()?.clone(), model.weights(layer)?);

    pollster::block_on(async {
        let gpu = Gpu::from_env().await?;
        let layer = GroupedQueryAttention::from_weights(&gpu, config, &weights).await?;
        let (t, widths) = (16, layer.widths());
        let input = |width: usize| (0..t * width).map(|i| (i as f32 * 0.23).sin()).collect::<Vec<_>>();
        let query = Tensor::from_slice(&gpu, [1, t, widths.query], &input(widths.query)).await?; // [B,T,C]
        let key = Tensor::from_slice(&gpu, [1, t, widths.key], &input(widths.key)).await?; // [B,S,Ck]
        let value = Tensor::from_slice(&gpu, [1, t, widths.value], &input(widths.value)).await?; // [B,S,Cv]
        let options = CallOptions { key: Some(&key), use_causal_mask: true, ..Default::default() };
        let output = layer.call(&query, &value, &options).await?.attention_output.to_array().await?;
        println!("on {gpu:?}: output {:?}, begins with {:.4?}", output.shape(), &output.data()[..4]);
        Ok(())
    })
}
