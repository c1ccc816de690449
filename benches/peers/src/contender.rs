//! What both sides of the comparison have in common.

use anyhow::Result;

/// One way to compute a row, bound to its inputs on the device.
pub trait Contender {
    /// `gqa`, or the form of burn, such as `matmul, folded`.
    fn name(&self) -> &'static str;

    /// Computes the row and waits until the device is done. This is what is timed.
    fn run(&self) -> Result<()>;

    /// Computes the row and reads the results: the output and, in a training row, every gradient.
    fn results(&self) -> Result<Vec<Named>>;
}

/// A result as the host reads it, with gqa's name for it and in gqa's layout: `output` is `[B,T,H,D]` of attention alone, `[B,T,C]`
/// of a layer, and each gradient has the layout of what it belongs to.
pub struct Named {
    pub name: String,
    pub values: Vec<f32>,
}

impl Named {
    pub fn new(name: impl Into<String>, values: Vec<f32>) -> Self {
        Self { name: name.into(), values }
    }

    /// Results of one group have one scale: `key` of `key/kernel` and `key/bias`. That one is 0 but for rounding, since
    /// softmax does not see what is added to all keys, so its own largest value is no measure.
    pub fn group(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }
}

/// The adapter that a library runs on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Adapter {
    pub name: String,
    pub driver: String,
    pub backend: String,
}

impl Adapter {
    pub fn new(info: &gqa::wgpu::AdapterInfo) -> Self {
        Self {
            name: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info),
            backend: info.backend.to_string(),
        }
    }
}

impl std::fmt::Display for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} ({})", self.name, self.driver.trim(), self.backend)
    }
}
