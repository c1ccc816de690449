//! A program that has its own wgpu device, buffers and frames: attention goes into its encoder.

use gqa::{Config, DType, FeatureWidths, Gpu, GroupedQueryAttention, Tensor, wgpu};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pollster::block_on(async {
        // What the program has anyway.
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = instance.request_adapter(&Default::default()).await?;
        let (device, queue) = adapter.request_device(&Default::default()).await?;
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("activations"),
            size: 64 * 48 * 4,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let activations: Vec<u8> = (0..64 * 48).flat_map(|i| (i as f32 * 0.17).cos().to_le_bytes()).collect();
        queue.write_buffer(&buffer, 0, &activations);

        // The layer borrows all of it. Nothing is copied.
        let gpu = Gpu::from_wgpu(&adapter, device.clone(), queue.clone())?;
        let layer =
            GroupedQueryAttention::new(&gpu, Config::new(12, 4, 1), FeatureWidths::all(48), 1).await?;
        let x = Tensor::from_buffer(&gpu, buffer, 0, [1, 64, 48], DType::F32)?; // [B,T,C]
        let options = Default::default();
        let output = layer.allocate_output(&x, &x, &options).await?; // once, for every frame

        // Each frame: recorded between the program's own commands, submitted by the program.
        for frame in 0..3 {
            let mut encoder = device.create_command_encoder(&Default::default());
            layer.encode(&mut encoder, &x, &x, &options, &output)?;
            queue.submit([encoder.finish()]);
            println!("frame {frame}: {} kernels dispatched so far", gpu.usage().dispatches);
        }
        let values = output.attention_output.to_vec::<f32>().await?;
        println!("output {:?}, begins with {:.4?}", output.attention_output.shape(), &values[..4]);
        Ok(())
    })
}
