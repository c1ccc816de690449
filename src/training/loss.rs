//! Losses: one number to make small, and its gradient for the output.

use crate::arguments::check_words;
use crate::arguments::{check_device, check_float};
use crate::gpu::{BufferRange, Pass};
use crate::kernels::elementwise::cast::Converted;
use crate::kernels::elementwise::sums::{Map, Sums, sums};
use crate::kernels::training::squared_error_backward::squared_error_backward;
use crate::{DType, Error, Result, Tensor};

const OPERATION: &str = "mean_squared_error";

/// A loss, and what it makes of the output.
#[derive(Debug, Clone)]
pub struct Loss {
    /// `[1]` f32
    pub value: Tensor,
    /// The gradient of the loss for the output, f32 in the output's shape.
    pub gradient: Tensor,
}

/// The mean of (output − target)² over all elements, and its gradient 2 · (output − target) / count, in f32.
///
/// Both may be of any float type. Fails where shapes or devices differ. Submits, doesn't wait.
///
/// ```
/// use gqa::{Gpu, Tensor, training::mean_squared_error};
/// # pollster::block_on(async {
/// let gpu = Gpu::from_env().await?;
/// let output = Tensor::from_slice(&gpu, [1, 2], &[1.0f32, 3.0]).await?;
/// let target = Tensor::from_slice(&gpu, [1, 2], &[0.0f32, 1.0]).await?;
/// let loss = mean_squared_error(&output, &target).await?;
/// assert_eq!(loss.value.to_vec::<f32>().await?, [2.5]);
/// assert_eq!(loss.gradient.to_vec::<f32>().await?, [1.0, 2.0]);
/// # Ok::<(), gqa::Error>(()) }).unwrap();
/// ```
pub async fn mean_squared_error(output: &Tensor, target: &Tensor) -> Result<Loss> {
    let gpu = output.gpu();
    check_float(OPERATION, gpu, "output", output)?;
    check_float(OPERATION, gpu, "target", target)?;
    check_device(OPERATION, gpu, "target", target)?;
    if output.shape() != target.shape() {
        let expected = format!("of the output's shape {:?}", output.shape());
        return Err(Error::argument(OPERATION, "target", expected, format!("shape {:?}", target.shape())));
    }
    let count = output.shape().iter().product::<usize>();
    check_words(gpu, OPERATION, "output", count as u64)?;
    gpu.submit(OPERATION, |pass| {
        let value = Tensor::output(gpu, OPERATION, vec![1], DType::F32)?;
        let gradient = Tensor::output(gpu, OPERATION, output.shape().to_vec(), DType::F32)?;
        let output = Converted::new(pass, output, DType::F32)?;
        let target = Converted::new(pass, target, DType::F32)?;
        let operands = [output.range(), target.range()];
        record_mean_squared_error(pass, operands, count, value.range(), gradient.range())?;
        Ok(Loss { value, gradient })
    })
    .await
}

/// Records output and target → value `[1]` and gradient; all but value are `[count]`, all f32. Slots must not overlap.
fn record_mean_squared_error(
    pass: &mut Pass<'_>,
    [output, target]: [BufferRange<'_>; 2],
    count: usize,
    value: BufferRange<'_>,
    gradient: BufferRange<'_>,
) -> Result<()> {
    let errors = Sums {
        x: output,
        other: Some(target),
        shape: [1, count, 1],
        map: Map::SquaredDifference,
        factor: (1.0 / count as f64) as f32,
        accumulate: false,
        y: value,
    };
    sums(pass, &errors)?;
    squared_error_backward(pass, (2.0 / count as f64) as f32, [output, target], gradient, count)
}
