//! The comparison that every numeric test goes through.

/// max |got − expected| / max |expected| if that is within `tolerance`, else a sentence that says where it is not.
///
/// Infinities must be equal. A NaN on either side, or a difference in length, is a failure.
pub fn compare(what: &str, got: &[f64], expected: &[f64], tolerance: f64) -> Result<f64, String> {
    if got.len() != expected.len() {
        return Err(format!("{what}: {} elements, expected {}", got.len(), expected.len()));
    }
    let finite = expected.iter().filter(|x| x.is_finite());
    let scale = finite.fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let scale = if scale == 0.0 { 1.0 } else { scale };
    let mut worst = 0.0;
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        if expected.is_infinite() && got == expected {
            continue;
        }
        let error = (got - expected).abs() / scale;
        // Written so that a NaN fails.
        if !(error <= tolerance) {
            return Err(format!(
                "{what}: element {i} is {got}, expected {expected}: error {error:.2e} of the largest value, \
                 tolerance {tolerance:.0e}"
            ));
        }
        worst = f64::max(worst, error);
    }
    Ok(worst)
}
