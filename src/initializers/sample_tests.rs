//! The mean, spread and bounds of large samples, and what is refused.

use super::*;
use crate::initializers::{FanMode, StftSide};

const COUNT: usize = 200_000;

/// Mean and standard deviation.
fn moments(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// Draws a large sample of `shape` and checks its moments and bounds. Five standard errors of the mean and of the
/// standard deviation (which is largest for normal numbers, σ/√2n) let one run in a million fail; the seed is fixed.
#[track_caller]
fn check(
    initializer: &Initializer,
    shape: &[usize],
    mean: f64,
    stddev: f64,
    bounds: (f64, f64),
) -> Result<()> {
    let array = initializer.sample(shape, 11)?;
    assert_eq!(array.shape(), shape);
    let (got_mean, got_stddev) = moments(array.data());
    let n = array.data().len() as f64;
    assert!(
        (got_mean - mean).abs() <= 5.0 * stddev / n.sqrt(),
        "{initializer:?}: mean {got_mean}, not {mean}"
    );
    let off = (got_stddev - stddev).abs();
    assert!(off <= 5.0 * stddev / (2.0 * n).sqrt(), "{initializer:?}: stddev {got_stddev}, not {stddev}");
    let (low, high) = array.data().iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| {
        (low.min(f64::from(x)), high.max(f64::from(x)))
    });
    assert!(low >= bounds.0 && high <= bounds.1, "{initializer:?}: {low}..{high} is not in {bounds:?}");
    // The sample also comes close to the bounds that it has.
    let reach = 0.01 * (bounds.1 - bounds.0);
    assert!(
        !bounds.0.is_finite() || low <= bounds.0 + reach,
        "{initializer:?}: {low} is far from {bounds:?}"
    );
    assert!(
        !bounds.1.is_finite() || high >= bounds.1 - reach,
        "{initializer:?}: {high} is far from {bounds:?}"
    );
    Ok(())
}

const UNBOUNDED: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

#[test]
fn plain_distributions_have_their_moments_and_bounds() -> Result<()> {
    let seed = None;
    check(&Initializer::RandomNormal { mean: 0.5, stddev: 0.2, seed }, &[COUNT], 0.5, 0.2, UNBOUNDED)?;
    // Bounds with room for the rounding to f32.
    let uniform = Initializer::RandomUniform { minval: -0.25, maxval: 0.75, seed };
    check(&uniform, &[COUNT], 0.25, 1.0 / 12f64.sqrt(), (-0.25, 0.75))?;
    let truncated = Initializer::TruncatedNormal { mean: 0.5, stddev: 0.25, seed };
    check(&truncated, &[COUNT], 0.5, 0.25 * TRUNCATED_STDDEV, (0.0, 1.0))
}

#[test]
fn normal_numbers_lie_within_each_sigma_as_often_as_they_should() -> Result<()> {
    let array = Initializer::RandomNormal { mean: 0.0, stddev: 1.0, seed: None }.sample(&[COUNT], 12)?;
    // erf(k/√2)
    for (k, share) in [(1.0, 0.682_689_492), (2.0, 0.954_499_736), (3.0, 0.997_300_204)] {
        let within = array.data().iter().filter(|x| x.abs() <= k).count() as f64 / COUNT as f64;
        let error = (share * (1.0 - share) / COUNT as f64).sqrt();
        assert!((within - share).abs() <= 5.0 * error, "{k} sigma: {within}, not {share}");
    }
    // Neighbours, which Box-Muller makes in pairs, are not correlated.
    let products = array.data().chunks_exact(2).map(|pair| f64::from(pair[0] * pair[1]));
    let correlation = products.sum::<f64>() / (COUNT / 2) as f64;
    assert!(correlation.abs() <= 5.0 / ((COUNT / 2) as f64).sqrt(), "{correlation}");
    Ok(())
}

/// The named initializer as a function of its axes, with the scale, the fan mode and the form that Keras gives it.
type Named =
    (fn(Option<Vec<i64>>, Option<Vec<i64>>) -> Initializer, f64, fn(f64, f64) -> f64, VarianceDistribution);

#[rustfmt::skip]
const NAMED: [Named; 7] = [
    (|i, o| Initializer::GlorotUniform { seed: None, input_axes: i, output_axes: o }, 1.0, average, Uniform),
    (|i, o| Initializer::GlorotNormal { seed: None, input_axes: i, output_axes: o }, 1.0, average, TruncatedNormal),
    (|i, o| Initializer::LecunUniform { seed: None, input_axes: i, output_axes: o }, 1.0, first, Uniform),
    (|i, o| Initializer::LecunNormal { seed: None, input_axes: i, output_axes: o }, 1.0, first, TruncatedNormal),
    (|i, o| Initializer::HeUniform { seed: None, input_axes: i, output_axes: o }, 2.0, first, Uniform),
    (|i, o| Initializer::HeNormal { seed: None, input_axes: i, output_axes: o }, 2.0, first, TruncatedNormal),
    (
        |input_axes, output_axes| Initializer::VarianceScaling {
            scale: 0.3,
            mode: FanMode::FanOut,
            distribution: UntruncatedNormal,
            seed: None,
            input_axes,
            output_axes,
        },
        0.3, second, UntruncatedNormal,
    ),
];

fn average(fan_in: f64, fan_out: f64) -> f64 {
    (fan_in + fan_out) / 2.0
}

fn first(fan_in: f64, _: f64) -> f64 {
    fan_in
}

fn second(_: f64, fan_out: f64) -> f64 {
    fan_out
}

#[test]
fn scaled_distributions_have_the_variance_of_their_fans() -> Result<()> {
    // A query kernel [C, H, D], an output kernel [H, D, C] and a matrix, with the fans that Keras 3.15.1 computes.
    for (shape, axes, (fan_in, fan_out)) in [
        (&[96, 4, 32][..], None, (384.0, 3072.0)),
        (&[4, 32, 96], None, (128.0, 384.0)),
        (&[96, 128], None, (96.0, 128.0)),
        (&[96, 4, 32], Some((vec![0], vec![1, -1])), (96.0, 128.0)),
    ] {
        for (initializer, scale, fan, form) in NAMED {
            let (input, output) = axes.clone().unzip();
            let stddev = f64::sqrt(scale / fan(fan_in, fan_out));
            let bound = match form {
                Uniform => 3f64.sqrt() * stddev * (1.0 + 1e-7),
                UntruncatedNormal => f64::INFINITY,
                TruncatedNormal => 2.0 * stddev / TRUNCATED_STDDEV * (1.0 + 1e-7),
            };
            check(&initializer(input, output), shape, 0.0, stddev, (-bound, bound))?;
        }
    }
    Ok(())
}

#[test]
fn constants_fill_and_identity_is_a_diagonal() -> Result<()> {
    assert_eq!(Initializer::Zeros.sample(&[2, 3], 0)?, Array::new([2, 3], [0.0; 6])?);
    assert_eq!(Initializer::Ones.sample(&[], 0)?, Array::new([], [1.0])?);
    assert_eq!(Initializer::Constant { value: -2.5 }.sample(&[2], 0)?, Array::new([2], [-2.5; 2])?);
    let wide = Initializer::Identity { gain: 3.0 }.sample(&[2, 3], 0)?;
    assert_eq!(wide, Array::new([2, 3], [3.0, 0.0, 0.0, 0.0, 3.0, 0.0])?);
    let orthogonal = Initializer::Orthogonal { gain: 2.0, seed: None }.sample(&[1, 1], 0)?;
    assert_eq!(orthogonal.map(|x| x.abs()), Array::new([1, 1], [2.0])?);
    Ok(())
}

#[test]
fn an_axis_of_length_0_gives_no_values() -> Result<()> {
    let stft = Initializer::Stft { side: StftSide::Real, window: None, scaling: None, periodic: false };
    for (initializer, shape) in [
        (Initializer::glorot_uniform(), &[0, usize::MAX, 2][..]),
        (Initializer::Orthogonal { gain: 1.0, seed: None }, &[2, 0, usize::MAX]),
        (Initializer::Identity { gain: 1.0 }, &[usize::MAX, 0]),
        (stft, &[usize::MAX, 1, 0]),
    ] {
        assert!(initializer.sample(shape, 0)?.data().is_empty(), "{initializer:?}");
    }
    Ok(())
}

#[test]
fn seeds_fix_the_values() -> Result<()> {
    let normal = |seed| Initializer::RandomNormal { mean: 0.0, stddev: 1.0, seed };
    assert_eq!(normal(None).sample(&[9], 1)?, normal(None).sample(&[9], 1)?);
    assert_ne!(normal(None).sample(&[9], 1)?, normal(None).sample(&[9], 2)?);
    assert_ne!(normal(None).sample_stream(&[9], 1, 0)?, normal(None).sample_stream(&[9], 1, 1)?);
    assert_eq!(normal(Some(3)).sample_stream(&[9], 1, 0)?, normal(Some(3)).sample_stream(&[9], 2, 1)?);
    assert_ne!(normal(Some(3)).sample(&[9], 1)?, normal(Some(4)).sample(&[9], 1)?);
    Ok(())
}

#[test]
fn what_can_not_be_sampled_is_refused() {
    let refused = |initializer: Initializer, shape: &[usize]| match initializer.sample(shape, 0) {
        Err(Error::Argument { argument, .. }) => argument,
        other => format!("{other:?}"),
    };
    let other = Initializer::Other { class_name: "Mine".into(), json: serde_json::Value::Null };
    assert_eq!(refused(other, &[2, 2]), "initializer");
    for shape in [&[3][..], &[3, 2, 2], &[]] {
        assert_eq!(refused(Initializer::Identity { gain: 1.0 }, shape), "shape");
    }
    for shape in [&[usize::MAX, 2][..], &[usize::MAX], &[usize::MAX / 8, 2, 2]] {
        assert_eq!(refused(Initializer::Zeros, shape), "shape");
    }
    for scale in [0.0, -1.0, f64::NAN] {
        let initializer = Initializer::VarianceScaling {
            scale,
            mode: FanAvg,
            distribution: Uniform,
            seed: None,
            input_axes: None,
            output_axes: None,
        };
        assert_eq!(refused(initializer, &[2, 2]), "scale");
    }
}
