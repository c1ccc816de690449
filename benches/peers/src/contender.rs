//! What both sides of the comparison have in common.

use anyhow::Result;

/// One way to compute a row, bound to its inputs on the device.
pub trait Contender {
    /// `gqa`, or the form of burn, such as `matmul, folded`.
    fn name(&self) -> &'static str;

    /// Computes the row and waits until the device is done. This is what is timed.
    fn run(&self) -> Result<()>;

    /// Computes the row and reads the result: `[B,T,H,D]` of attention alone, `[B,T,C]` of a layer.
    fn output(&self) -> Result<Vec<f32>>;
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
