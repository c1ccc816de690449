//! The register of kernels with several forms.

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
    /// Whether a device can run the form of this name, for heads of some width.
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
        // Whether these fit also depends on the head width.
        Register::new::<Forward>(forward::lanes::KERNEL.name, |name, device| {
            let named = Forward::forms().find(|form| form.name() == name);
            named.is_some_and(|form| !form.uses_matrices() || device.matrix.is_some())
        }),
        Register::new::<Backward>(backward::lanes::KERNEL.name, |_, _| true),
    ]
}

/// The kernels with several forms, and the names of the forms.
pub fn forms() -> Vec<(&'static str, Vec<&'static str>)> {
    registers().into_iter().map(|register| (register.kernel, register.forms)).collect()
}

impl Gpu {
    /// Fixes the form of a kernel for all shapes, or with `None` returns to the chosen ones. For benchmarks and experiments:
    /// every form gives right results, and most are slow. A call whose shapes the form does not support fails, except that
    /// with a form on [cooperative matrices](Gpu::cooperative_matrix), operands that are not f16 take the default form.
    ///
    /// Fails if [`forms`] has no such kernel or form, or if the form does not fit the device, such as one on cooperative
    /// matrices that have not passed their test.
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
