//! Self-test of cooperative matrices, which a device must pass before they are used: every form that uses them runs once on
//! small operands, and the result is compared with the host's.

use super::attention::forward::{
    Form as AttentionForm, Forward, Operands as AttentionOperands, attention_forward,
};
use super::attention::masks::nonfinite_keys::{self, nonfinite_keys};
use super::attention::problem::Problem;
use super::attention::score::Score;
use super::attention::visible::Visibility;
use super::linear::{Form as LinearForm, Linear, Operands as LinearOperands, linear};
use crate::gpu::{CooperativeMatrix, Gpu, Tensor};
use crate::shapes::Dims;
use crate::tuning::{NamedForm as _, Tunable as _};
use crate::{Array, DType, Error, Result, philox4x32_10, reference};

const OPERATION: &str = "cooperative matrices";

/// Tolerance of a result, relative to the sum of the absolute values of its terms. Sums in f16 exceed it; sums in any
/// hardware's f32 stay far below it.
const TOLERANCE: f64 = 1e-4;

/// The same for sums of values weighted by probabilities that are rounded to f16.
const PROBABILITY_TOLERANCE: f64 = 1e-3;

/// The poison that outputs hold before they are written.
const POISON: f32 = 7.0e33;

impl Gpu {
    /// Tests the device's [cooperative matrices](Self::cooperative_matrix), unless they have been tested, and returns their
    /// state.
    pub async fn test_cooperative_matrix(&self) -> Result<CooperativeMatrix> {
        if self.cooperative_matrix() == CooperativeMatrix::Untested {
            let verdict = match test(self).await {
                Ok(verdict) => verdict,
                Err(lost @ Error::DeviceLost { .. }) => return Err(lost),
                Err(error) => Err(error.to_string()),
            };
            log::info!("gqa: cooperative matrices of {self:?}: {verdict:?}");
            self.set_verdict(verdict);
        }
        Ok(self.cooperative_matrix())
    }
}

/// Tests all forms; the `Err` describes the first failure.
async fn test(gpu: &Gpu) -> Result<Result<(), String>> {
    let device = gpu.capabilities(gpu.matrix_config());
    for (case, form) in Linear::forms().filter(|form| form.uses_matrices()).enumerate() {
        if form.fits(&device)
            && let Err(wrong) = test_linear(gpu, form, case).await?
        {
            return Ok(Err(format!("linear in the form {}: {wrong}", form.name)));
        }
    }
    for (case, form) in Forward::forms().filter(|form| form.uses_matrices()).enumerate() {
        if form.fits(attention_dims(case).head_dim, &device)
            && let Err(wrong) = test_attention(gpu, form, case).await?
        {
            return Ok(Err(format!("attention_forward in the form {}: {wrong}", form.name)));
        }
    }
    Ok(Ok(()))
}

/// Several steps of K, so that sums are carried between them; all sizes off the tiles.
async fn test_linear(gpu: &Gpu, form: LinearForm, case: usize) -> Result<Result<(), String>> {
    let [m, k, n] = [[83, 140, 76], [70, 171, 133], [101, 68, 140]][case % 3];
    let x_type = [DType::F16, DType::F32][case % 2];
    let (x, x_seen) = operand(gpu, [m, k], 1, x_type).await?;
    let (w, w_seen) = operand(gpu, [k, n], 2, DType::F16).await?;
    let (bias, bias_seen) = operand(gpu, [1, n], 3, DType::F16).await?;
    let y = Tensor::from_array(gpu, &Array::from_fn([m, n], |_| POISON), DType::F32).await?;
    let problem = Linear { sizes: [m, k, n], x: x_type, w: DType::F16 };
    let operands = LinearOperands {
        x: x.operand(),
        w: w.operand(),
        bias: Some(bias.range()),
        multiplicand: None,
        y: y.range(),
        add: false,
    };
    gpu.submit(OPERATION, |pass| linear(pass, &problem, &operands, form)).await?;
    let got = y.to_array().await?.to_f64();
    let of = |x: &[f64], w: &[f64], bias: &[f64]| reference::linear(x, w, Some(bias), [m, k, n]);
    let absolute = |values: &[f64]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let expected = of(&x_seen, &w_seen, &bias_seen);
    let bounds = of(&absolute(&x_seen), &absolute(&w_seen), &absolute(&bias_seen));
    Ok(check(got.data(), &expected, &bounds, TOLERANCE))
}

/// All sizes off the tiles, more rows than one tile, and several blocks of keys.
fn attention_dims(case: usize) -> Dims {
    let head_dim = [40, 20, 33, 64][case % 4];
    Dims { batch: 1, query_len: 51, key_len: 171, query_heads: 6, key_heads: 2, head_dim }
}

/// Scores that grow along the keys, so that the sums carried from block to block are rescaled; with the causal mask.
async fn test_attention(gpu: &Gpu, form: AttentionForm, case: usize) -> Result<Result<(), String>> {
    let dims = attention_dims(case);
    let Dims { batch, query_len: t, key_len: s, query_heads: h, key_heads, head_dim: d } = dims;
    let (q_shape, k_shape) = ([batch, t, h, d], [batch, s, key_heads, d]);
    let width = key_heads * d;
    let noise = |seed, i| {
        let [bits, ..] = philox4x32_10([i as u32, seed, 0, 0], [7, 7]);
        bits as f32 / 2_147_483_648.0 - 1.0
    };
    let q = Array::from_fn(q_shape, |i| 1.0 + noise(1, i));
    let k = Array::from_fn(k_shape, |i| (1.0 + noise(2, i)) * (i / width) as f32 / s as f32);
    let offset = s - t;
    let v = Array::from_fn(k_shape, |i| noise(3, i));
    let [q_tensor, k_tensor, v_tensor] = [
        Tensor::from_array(gpu, &q, DType::F16).await?,
        Tensor::from_array(gpu, &k, [DType::F16, DType::F32][case % 2]).await?,
        Tensor::from_array(gpu, &v, [DType::F32, DType::F16][case % 2]).await?,
    ];
    let out = Tensor::from_array(gpu, &Array::from_fn(q_shape, |_| POISON), DType::F32).await?;
    let lse = Tensor::from_array(gpu, &Array::from_fn([batch, h, t], |_| POISON), DType::F32).await?;
    let visibility = Visibility::of_positions(true, offset as u32, 0).with_nonfinite_keys(0, &dims);
    let problem = Problem { dims, visibility, score: Score::scaled(1.0), dropout: None };
    gpu.submit(OPERATION, |pass| {
        let mask_bits = pass.workspace("mask_bits", nonfinite_keys::words(&dims) as u64);
        nonfinite_keys(pass, &dims, v_tensor.operand(), mask_bits.range(), 0)?;
        let operands = AttentionOperands {
            q: q_tensor.operand(),
            k: k_tensor.operand(),
            v: v_tensor.operand(),
            mask_bits: mask_bits.range(),
            out: out.range(),
            lse: lse.range(),
        };
        attention_forward(pass, &problem, &operands, form)
    })
    .await?;
    let visibility = reference::Visibility { causal: true, q_offset: offset, ..Default::default() };
    let options =
        reference::AttentionOptions { score: reference::ScoreRule::scaled(1.0), visibility, dropout: None };
    let [q, k, v] = [&q, &k, &v].map(|x| reference::cast(&x.to_f64(), DType::F16));
    let expected = reference::attention_forward(&q, &k, &v, &options)?;
    let [out, lse] = [out.to_array().await?.to_f64(), lse.to_array().await?.to_f64()];
    let bounds = |count| vec![1.0; count];
    let checked = check(out.data(), expected.output.data(), &bounds(out.data().len()), PROBABILITY_TOLERANCE);
    Ok(checked.and_then(|()| check(lse.data(), &expected.lse, &bounds(lse.data().len()), TOLERANCE)))
}

/// The first element with an error above the tolerance of its bound, if any. NaN counts as an error.
fn check(got: &[f64], expected: &[f64], bounds: &[f64], tolerance: f64) -> Result<(), String> {
    for (i, ((got, expected), bound)) in got.iter().zip(expected).zip(bounds).enumerate() {
        if !((got - expected).abs() <= tolerance * bound) {
            return Err(format!("element {i} is {got:e}, not {expected:e}"));
        }
    }
    Ok(())
}

/// Values of either sign over many orders of magnitude, some at the limits of f16: as a tensor, and as rounded for cooperative
/// matrices.
async fn operand(gpu: &Gpu, shape: [usize; 2], seed: u32, dtype: DType) -> Result<(Tensor, Vec<f64>)> {
    let array = Array::from_fn(shape, |i| {
        let [bits, scale, ..] = philox4x32_10([i as u32, seed, 0, 0], [7, 7]);
        let value = (bits as f32 / 2_147_483_648.0 - 1.0) * 2f32.powi(scale as i32 % 7);
        match (i / shape[1] % 16, scale % 19) {
            (3, 1) => 65504f32.copysign(value),
            (4, 2) => 6.0e-8,
            (5, _) => 0.0,
            _ => value,
        }
    });
    let tensor = Tensor::from_array(gpu, &array, dtype).await?;
    Ok((tensor, reference::cast(&array.to_f64(), DType::F16).into_data()))
}
