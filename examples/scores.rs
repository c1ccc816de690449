//! Attention scores under a mask, drawn for one head.

use gqa::{Array, CallOptions, Config, FeatureWidths, Gpu, GroupedQueryAttention, Tensor};

const T: usize = 24;

fn main() -> gqa::Result<()> {
    pollster::block_on(async {
        let gpu = Gpu::from_env().await?;
        let layer = GroupedQueryAttention::new(&gpu, Config::new(8, 4, 2), FeatureWidths::all(32), 3).await?;
        let x: Vec<f32> = (0..T * 32).map(|i| (i as f32 * 0.61).sin() * 3.0).collect();
        let x = Tensor::from_slice(&gpu, [1, T, 32], &x).await?; // [B,T,C]

        // Two documents side by side: a query sees its own document only, and of that what came before.
        let document = |position: usize| position / 14;
        let mask = Array::from_fn([T, T], |i| document(i / T) == document(i % T));
        let mask = Tensor::from_mask(&gpu, &mask).await?; // [T,S]
        let options = CallOptions {
            attention_mask: Some(&mask),
            use_causal_mask: true,
            return_attention_scores: true,
            ..Default::default()
        };
        let output = layer.call(&x, &x, &options).await?;
        let Some(scores) = output.attention_scores else { return Ok(()) }; // [B,H,T,S]
        let scores = scores.to_vec::<f32>().await?;

        println!("head 0: who attends to whom, from ' ' (nothing) to '█' (everything)");
        for row in scores[..T * T].chunks(T) {
            let line: String =
                row.iter().map(|p| [' ', '░', '▒', '▓', '█'][(p * 4.0).ceil() as usize]).collect();
            println!("  |{line}|");
        }
        Ok(())
    })
}
