//! The windows that SciPy makes from a name alone.

use std::f64::consts::PI;

/// `scipy.signal.get_window(name, length, periodic)`; `None` where SciPy knows no such window or asks for an argument.
///
/// Each is symmetric; a periodic one is that of the next length without its last value. A `_periodic` or `_symmetric` at
/// the end of the name overrides `periodic`. A window of length 1 is 1.
pub(super) fn window(name: &str, length: usize, periodic: bool) -> Option<Vec<f64>> {
    let (name, periodic) = match (name.strip_suffix("_symmetric"), name.strip_suffix("_periodic")) {
        (Some(name), _) => (name, false),
        (_, Some(name)) => (name, true),
        _ => (name, periodic),
    };
    let value = symmetric(name)?;
    if length <= 1 {
        return Some(vec![1.0; length]);
    }
    let count = (length + usize::from(periodic)) as f64;
    Some((0..length).map(|n| value(n as f64 - (count - 1.0) / 2.0, count)).collect())
}

/// The window of this name, as a function of the distance `t` from the middle and of the number of values.
fn symmetric(name: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match name {
        "barthann" | "brthan" | "bth" => {
            |t, n| 0.62 - 0.24 * edge(t, n).abs() + 0.38 * (PI * edge(t, n)).cos()
        }
        "bartlett" | "bart" | "brt" => |t, n| 1.0 - edge(t, n).abs(),
        "blackman" | "black" | "blk" => |t, n| cosines(&[0.42, 0.5, 0.08], t, n),
        "blackmanharris" | "blackharr" | "bkh" => |t, n| cosines(&[0.35875, 0.48829, 0.14128, 0.01168], t, n),
        "bohman" | "bman" | "bmn" => |t, n| {
            let x = edge(t, n).abs();
            (1.0 - x) * (PI * x).cos() + (PI * x).sin() / PI
        },
        "boxcar" | "box" | "ones" | "rect" | "rectangular" => |_, _| 1.0,
        "cosine" | "halfcosine" => |t, n| (PI * t / n).cos(),
        "exponential" | "poisson" => |t, _| (-t.abs()).exp(),
        "flattop" | "flat" | "flt" => {
            |t, n| cosines(&[0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368], t, n)
        }
        "hamming" | "hamm" | "ham" => |t, n| cosines(&[0.54, 0.46], t, n),
        "hann" | "han" => |t, n| cosines(&[0.5, 0.5], t, n),
        "lanczos" | "sinc" => |t, n| match PI * edge(t, n) {
            0.0 => 1.0,
            x => x.sin() / x,
        },
        "nuttall" | "nutl" | "nut" => |t, n| cosines(&[0.3635819, 0.4891775, 0.1365995, 0.0106411], t, n),
        "parzen" | "parz" | "par" => |t, n| {
            let x = t.abs() / (n / 2.0);
            if t.abs() <= (n - 1.0) / 4.0 {
                1.0 - 6.0 * x.powi(2) + 6.0 * x.powi(3)
            } else {
                2.0 * (1.0 - x).powi(3)
            }
        },
        "taylor" | "taylorwin" => |t, n| taylor(t, n) / taylor(0.0, n),
        "triangle" | "triang" | "tri" => {
            |t, n| 1.0 - 2.0 * t.abs() / if n % 2.0 == 0.0 { n } else { n + 1.0 }
        }
        "tukey" | "tuk" => |t, n| 0.5 - 0.5 * (PI * (2.0 * (1.0 - edge(t, n).abs())).min(1.0)).cos(),
        _ => return None,
    })
}

/// The distance from the middle in units of that of the ends.
fn edge(t: f64, n: f64) -> f64 {
    2.0 * t / (n - 1.0)
}

/// Σ aₖ cos(k x), where x is π at the ends.
fn cosines(a: &[f64], t: f64, n: f64) -> f64 {
    a.iter().enumerate().map(|(k, a)| a * (k as f64 * PI * edge(t, n)).cos()).sum()
}

/// Taylor's window for SciPy's defaults, 4 sidelobes of nearly constant level, 30 dB down; not yet 1 in the middle.
fn taylor(t: f64, n: f64) -> f64 {
    const SIDELOBES: f64 = 4.0;
    let a2 = (10f64.powf(30.0 / 20.0).acosh() / PI).powi(2);
    let s2 = SIDELOBES.powi(2) / (a2 + (SIDELOBES - 0.5).powi(2));
    let orders = [1.0, 2.0, 3.0];
    let coefficient = |m: f64| {
        let numerator: f64 =
            orders.iter().map(|k: &f64| 1.0 - m * m / s2 / (a2 + (k - 0.5).powi(2))).product();
        let others = orders.iter().filter(|&&k| k != m);
        let sign = if m % 2.0 == 1.0 { 1.0 } else { -1.0 };
        sign * numerator / (2.0 * others.map(|k| 1.0 - m * m / (k * k)).product::<f64>())
    };
    1.0 + 2.0 * orders.iter().map(|&m| coefficient(m) * (2.0 * PI * m * t / n).cos()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    // `scipy.signal.get_window` of SciPy 1.17.1, for an odd and an even number of values.
    #[rustfmt::skip]
    const CASES: &[(&str, usize, bool, &[f64])] = &[
        ("barthann", 7, false, &[0.0, 0.27, 0.73, 1.0, 0.73, 0.27, 0.0]),
        ("barthann", 7, true, &[0.0, 0.211645303865, 0.601700812046, 0.928082455517, 0.928082455517, 0.601700812046, 0.211645303865]),
        ("bartlett", 7, false, &[0.0, 0.333333333333, 0.666666666667, 1.0, 0.666666666667, 0.333333333333, 0.0]),
        ("bartlett", 7, true, &[0.0, 0.285714285714, 0.571428571429, 0.857142857143, 0.857142857143, 0.571428571429, 0.285714285714]),
        ("blackman", 7, false, &[0.0, 0.13, 0.63, 1.0, 0.63, 0.13, 0.0]),
        ("blackman", 7, true, &[0.0, 0.090453424354, 0.459182957546, 0.9203636181, 0.9203636181, 0.459182957546, 0.090453424354]),
        ("blackmanharris", 7, false, &[6e-05, 0.055645, 0.520575, 1.0, 0.520575, 0.055645, 6e-05]),
        ("blackmanharris", 7, true, &[6e-05, 0.033391723478, 0.332833504299, 0.889369772223, 0.889369772223, 0.332833504299, 0.033391723478]),
        ("bohman", 7, false, &[0.0, 0.108997781044, 0.608997781044, 1.0, 0.608997781044, 0.108997781044, 0.0]),
        ("bohman", 7, true, &[0.0, 0.070724746811, 0.437484012168, 0.910368513246, 0.910368513246, 0.437484012168, 0.070724746811]),
        ("boxcar", 7, false, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("boxcar", 7, true, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("cosine", 7, false, &[0.222520933956, 0.623489801859, 0.900968867902, 1.0, 0.900968867902, 0.623489801859, 0.222520933956]),
        ("cosine", 7, true, &[0.195090322016, 0.55557023302, 0.831469612303, 0.980785280403, 0.980785280403, 0.831469612303, 0.55557023302]),
        ("exponential", 7, false, &[0.049787068368, 0.135335283237, 0.367879441171, 1.0, 0.367879441171, 0.135335283237, 0.049787068368]),
        ("exponential", 7, true, &[0.030197383422, 0.082084998624, 0.223130160148, 0.606530659713, 0.606530659713, 0.223130160148, 0.082084998624]),
        ("flattop", 7, false, &[-0.000421051, -0.051263156, 0.19821053, 1.000000003, 0.19821053, -0.051263156, -0.000421051]),
        ("flattop", 7, true, &[-0.000421051, -0.036840781155, 0.010703716716, 0.780873914939, 0.780873914939, 0.010703716716, -0.036840781155]),
        ("hamming", 7, false, &[0.08, 0.31, 0.77, 1.0, 0.77, 0.31, 0.08]),
        ("hamming", 7, true, &[0.08, 0.253194691145, 0.64235962962, 0.954445679235, 0.954445679235, 0.64235962962, 0.253194691145]),
        ("hann", 7, false, &[0.0, 0.25, 0.75, 1.0, 0.75, 0.25, 0.0]),
        ("hann", 7, true, &[0.0, 0.188255099071, 0.611260466978, 0.950484433951, 0.950484433951, 0.611260466978, 0.188255099071]),
        ("lanczos", 7, false, &[0.0, 0.413496671566, 0.826993343133, 1.0, 0.826993343133, 0.413496671566, 0.0]),
        ("lanczos", 7, true, &[0.0, 0.348410566279, 0.724101449783, 0.966766385309, 0.966766385309, 0.724101449783, 0.348410566279]),
        ("nuttall", 7, false, &[0.0003628, 0.0613345, 0.5292298, 1.0, 0.5292298, 0.0613345, 0.0003628]),
        ("nuttall", 7, true, &[0.0003628, 0.037775768954, 0.342727619969, 0.891851861078, 0.891851861078, 0.342727619969, 0.037775768954]),
        ("parzen", 7, false, &[0.00583090379, 0.157434402332, 0.650145772595, 1.0, 0.650145772595, 0.157434402332, 0.00583090379]),
        ("parzen", 7, true, &[0.00390625, 0.10546875, 0.47265625, 0.91796875, 0.91796875, 0.47265625, 0.10546875]),
        ("taylor", 7, false, &[0.290095312727, 0.578212601109, 0.878008224865, 1.0, 0.878008224865, 0.578212601109, 0.290095312727]),
        ("taylor", 7, true, &[0.279346299824, 0.514959898191, 0.797301528119, 0.975610718096, 0.975610718096, 0.797301528119, 0.514959898191]),
        ("triangle", 7, false, &[0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25]),
        ("triangle", 7, true, &[0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375]),
        ("tukey", 7, false, &[0.0, 0.75, 1.0, 1.0, 1.0, 0.75, 0.0]),
        ("tukey", 7, true, &[0.0, 0.611260466978, 1.0, 1.0, 1.0, 1.0, 0.611260466978]),
    ];

    #[test]
    fn windows_are_those_of_scipy() {
        for &(name, length, periodic, expected) in CASES {
            let got = window(name, length, periodic).unwrap_or_default();
            let close = got.len() == length && got.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-11);
            assert!(close, "{name} {length} {periodic}: {got:?}");
        }
    }

    #[test]
    fn a_suffix_of_the_name_decides() {
        assert_eq!(window("hann_periodic", 6, false), window("hann", 6, true));
        assert_eq!(window("hann_symmetric", 6, true), window("hann", 6, false));
    }

    #[test]
    fn short_windows_are_ones_and_unknown_ones_none() {
        assert_eq!(window("hann", 1, false), Some(vec![1.0]));
        assert_eq!(window("kaiser", 7, false), None);
    }
}
