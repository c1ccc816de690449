//! Kernels of the short-term Fourier transform.

use std::f64::consts::TAU;

use super::windows::window;
use super::{OPERATION, StftScaling, StftSide, StftWindow};
use crate::{Error, Result};

/// The elements of a kernel `[frame length, 1, frequencies]`, row-major: the cosines, or minus the sines, of each
/// frequency over the frame, times the scaled window. The frequencies are half of those of a transform of
/// 2 · (`frequencies` − 1) points.
///
/// Unlike Keras, a kernel with several channels (for which Keras makes one) and one with a single frequency (for which
/// it makes NaN) are refused.
pub(super) fn stft(
    shape: &[usize],
    side: StftSide,
    window: Option<&StftWindow>,
    scaling: Option<StftScaling>,
    periodic: bool,
) -> Result<Vec<f64>> {
    let &[frame, 1, frequencies @ (0 | 2..)] = shape else {
        return Err(Error::argument(
            OPERATION,
            "shape",
            "[frame length, 1, at least 2 frequencies] for STFT",
            format!("{shape:?}"),
        ));
    };
    if shape.contains(&0) {
        return Ok(Vec::new());
    }
    let window = match window {
        Some(window) => scaled_window(window, frame, scaling, periodic)?,
        None => vec![1.0; frame],
    };
    let points = 2 * (frequencies - 1);
    let element = |i: usize| {
        let (time, frequency) = (i / frequencies, i % frequencies);
        let turns = (time as u128 * frequency as u128 % points as u128) as f64 / points as f64;
        let angle = -TAU * turns;
        window[time]
            * match side {
                StftSide::Real => angle.cos(),
                StftSide::Imag => angle.sin(),
            }
    };
    Ok((0..frame * frequencies).map(element).collect())
}

fn scaled_window(
    wanted: &StftWindow,
    frame: usize,
    scaling: Option<StftScaling>,
    periodic: bool,
) -> Result<Vec<f64>> {
    let refuse = |expected: String, got: String| Err(Error::argument(OPERATION, "window", expected, got));
    let mut values = match wanted {
        StftWindow::Values(values) if values.len() == frame => values.clone(),
        StftWindow::Values(values) => {
            return refuse(format!("of the frame length {frame}"), format!("{} values", values.len()));
        }
        StftWindow::Named(name) => match window(name, frame, periodic) {
            Some(values) => values,
            None => return refuse("a SciPy window that needs no argument".into(), format!("`{name}`")),
        },
    };
    let scale = match scaling {
        None => 1.0,
        Some(StftScaling::Density) => values.iter().map(|w| w * w).sum::<f64>().sqrt(),
        Some(StftScaling::Spectrum) => values.iter().map(|w| w.abs()).sum(),
    };
    if scale == 0.0 {
        return refuse("other than 0 somewhere, to be scaled".into(), format!("{frame} zeros"));
    }
    values.iter_mut().for_each(|w| *w /= scale);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hann() -> StftWindow {
        StftWindow::Named("hann".into())
    }

    #[track_caller]
    fn assert_close(got: Result<Vec<f64>>, expected: &[f64]) {
        let got = got.unwrap_or_default();
        // Keras computes in f32.
        let close =
            got.len() == expected.len() && got.iter().zip(expected).all(|(x, y)| (x - y).abs() < 2e-7);
        assert!(close, "{got:?}");
    }

    #[test]
    fn kernels_are_those_of_keras() {
        let shape = [5, 1, 3];
        // keras.initializers.STFT()(shape), and with other arguments, of Keras 3.15.1
        assert_close(
            stft(&shape, StftSide::Real, Some(&hann()), Some(StftScaling::Density), false),
            &[
                0.0,
                0.0,
                0.0,
                0.408248276,
                0.0,
                -0.408248276,
                0.816496551,
                -0.816496551,
                0.816496551,
                0.408248276,
                0.0,
                -0.408248276,
                0.0,
                0.0,
                0.0,
            ],
        );
        assert_close(
            stft(&shape, StftSide::Imag, Some(&hann()), Some(StftScaling::Spectrum), true),
            &[0.0, 0.0, 0.0, 0.0, -0.138196602, 0.0, 0.0, 0.0, 0.0, 0.0, 0.361803383, 0.0, 0.0, 0.0, 0.0],
        );
        let values = StftWindow::Values(vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_close(
            stft(&shape, StftSide::Real, Some(&values), Some(StftScaling::Density), false),
            &[
                0.134839982,
                0.134839982,
                0.134839982,
                0.269679964,
                0.0,
                -0.269679964,
                0.404519945,
                -0.404519945,
                0.404519945,
                0.539359927,
                0.0,
                -0.539359927,
                0.674199939,
                0.674199939,
                0.674199939,
            ],
        );
        assert_close(
            stft(&[4, 1, 3], StftSide::Real, None, Some(StftScaling::Density), false),
            &[1.0, 1.0, 1.0, 1.0, 0.0, -1.0, 1.0, -1.0, 1.0, 1.0, 0.0, -1.0],
        );
    }

    #[test]
    fn what_makes_no_kernel_is_refused() {
        let refused = |shape: &[usize], window: StftWindow| match stft(
            shape,
            StftSide::Real,
            Some(&window),
            Some(StftScaling::Density),
            false,
        ) {
            Err(Error::Argument { argument, .. }) => argument,
            other => format!("{other:?}"),
        };
        for shape in [&[5, 3][..], &[5, 2, 3], &[5, 1, 1], &[]] {
            assert_eq!(refused(shape, hann()), "shape");
        }
        assert_eq!(refused(&[5, 1, 3], StftWindow::Values(vec![1.0; 4])), "window");
        assert_eq!(refused(&[5, 1, 3], StftWindow::Named("kaiser".into())), "window");
        // A symmetric Hann window of length 2 is 0 everywhere.
        assert_eq!(refused(&[2, 1, 3], hann()), "window");
    }
}
