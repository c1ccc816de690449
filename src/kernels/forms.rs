//! The register of all kernels that have forms to choose from.

use super::attention::backward::{self, Backward};
use super::attention::forward::{self, Forward};
use super::linear::{self, Linear};
use crate::gpu::{Capabilities, Gpu};
use crate::tuning::{NamedForm, Tunable};
use crate::{Error, Result};

/// The forms of a kernel.
struct Register {
    kernel: &'static str,
    forms: Vec<&'static str>,
    /// Whether a device can run the form of this name, whatever the heads.
    runs: fn(&str, &Capabilities<'_>) -> bool,
}

impl Register {
    fn new<P: Tunable>(kernel: &'static str, runs: fn(&str, &Capabilities<'_>) -> bool) -> Self {
        Self { kernel, forms: P::forms().map(|form| form.name()).collect(), runs }
    }
}

fn registers() -> [Register; 3] {
    [
        Register::new::<Linear>(linear::lanes::KERNEL.name, |name, device| {
            Linear::forms().any(|form| form.name() == name && form.fits(device))
        }),
        // Whether these fit depends on the heads too.
        Register::new::<Forward>(forward::lanes::KERNEL.name, |name, device| {
            let named = Forward::forms().find(|form| form.name() == name);
            named.is_some_and(|form| !form.uses_matrices() || device.matrix.is_some())
        }),
        Register::new::<Backward>(backward::lanes::KERNEL.name, |_, _| true),
    ]
}

/// The kernels that have forms to choose from, and the names of those.
pub fn forms() -> Vec<(&'static str, Vec<&'static str>)> {
    registers().into_iter().map(|register| (register.kernel, register.forms)).collect()
}

impl Gpu {
    /// Takes this form of a kernel from now on, whatever the shapes, or with `None` the chosen ones again. For benchmarks
    /// and for the curious: calls are right in any form, and slow in most. A call whose shapes the form can't take fails,
    /// except that forms on [cooperative matrices](Gpu::cooperative_matrix) leave operands that are not f16 to the default
    /// form.
    ///
    /// Fails where [`forms`] has no such kernel or form, and where the form does not fit the device, such as one on
    /// cooperative matrices that have not passed their test.
    pub fn fix_form(&self, kernel: &str, form: Option<&str>) -> Result<()> {
        const OPERATION: &str = "Gpu::fix_form";
        let all = registers();
        let Some(register) = all.iter().find(|register| register.kernel == kernel) else {
            let known: Vec<_> = all.iter().map(|register| register.kernel).collect();
            return Err(Error::argument(OPERATION, "kernel", format!("one of {known:?}"), kernel));
        };
        let Some(wanted) = form else {
            self.fix(register.kernel, None);
            return Ok(());
        };
        let Some(name) = register.forms.iter().find(|name| **name == wanted) else {
            return Err(Error::argument(OPERATION, "form", format!("one of {:?}", register.forms), wanted));
        };
        if !(register.runs)(name, &self.capabilities(self.tested_matrix())) {
            return Err(Error::argument(OPERATION, "form", "one that fits this device", *name));
        }
        self.fix(register.kernel, Some(name));
        Ok(())
    }
}
