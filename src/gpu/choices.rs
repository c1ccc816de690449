//! The form taken for each class of shapes: fixed, measured, remembered from an earlier process, or the default.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sync::lock;
use super::{Class, Gpu};

/// Whether the forms of kernels are measured on this device before they are used.
///
/// Forms add in different orders, and so round differently. For the same bits from one process to the next, as in a
/// training run, turn tuning off or fix the [form](Gpu::fix_form).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tuning {
    /// The first call of a class of shapes tries the candidate forms for up to ten seconds, and the winner is
    /// remembered: on native targets also for later processes, in the user's cache folder.
    #[default]
    On,
    /// Nothing is measured, and no file is read or written. Forms measured before in this process stay in use; the table of
    /// defaults decides the others.
    Off,
}

/// The form that a device took for a class of shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The kernel and the class of shapes, sizes as powers of two: `linear f32 f32 M512 K512 N512`.
    pub class: String,
    /// The form: the tile configuration of the kernel.
    pub form: &'static str,
    /// The reason for the choice.
    pub source: ChoiceSource,
}

/// The reason for a choice.
#[derive(Debug, Clone, PartialEq)]
pub enum ChoiceSource {
    /// From the table of defaults.
    Default,
    /// Measured on this device, in this process.
    Measured {
        /// The measured forms with their median times in milliseconds, fastest first.
        candidates: Vec<(&'static str, f64)>,
        /// Duration of the measurement, compilation included, in seconds.
        seconds: f64,
    },
    /// Measured in an earlier process, and read from `choices.json`.
    Remembered,
    /// Fixed by the caller ([`Gpu::fix_form`]).
    Fixed,
}

/// The choices of a device.
#[derive(Default)]
pub(super) struct Choices {
    off: AtomicBool,
    /// Forms fixed by the caller, by kernel.
    pub(super) fixed: Mutex<HashMap<&'static str, &'static str>>,
    pub(super) made: Mutex<HashMap<Class, (&'static str, ChoiceSource)>>,
    /// Choices read from the file for this adapter, by class; `None` until it is read.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) remembered: Mutex<Option<HashMap<String, String>>>,
    /// The error with the file of choices, if any.
    pub(super) problem: Mutex<Option<String>>,
}

impl Gpu {
    /// Whether the first call of a class of shapes measures. See [`Tuning`].
    pub fn set_tuning(&self, tuning: Tuning) {
        self.inner().choices.off.store(tuning == Tuning::Off, Ordering::Relaxed);
    }

    /// Whether the first call of a class of shapes measures.
    pub fn tuning(&self) -> Tuning {
        if self.inner().choices.off.load(Ordering::Relaxed) { Tuning::Off } else { Tuning::On }
    }

    /// The forms taken on this device so far, by class of shapes.
    ///
    /// ```
    /// use gqa::{ChoiceSource, Gpu, Tensor, scaled_dot_product_attention};
    /// # pollster::block_on(async {
    /// let gpu = Gpu::from_env().await?;
    /// let q = Tensor::from_slice(&gpu, [1, 20, 4, 8], &[0.5f32; 640]).await?; // [B,T,H,D]
    /// let kv = Tensor::from_slice(&gpu, [1, 20, 2, 8], &[0.5f32; 320]).await?; // [B,S,Hkv,D]
    /// scaled_dot_product_attention(&q, &kv, &kv, &Default::default()).await?;
    /// let taken = gpu.choices().remove(0);
    /// assert!(taken.class.starts_with("attention_forward f32 f32 f32 D8"));
    ///
    /// gpu.fix_form("attention_forward", Some(taken.form))?; // from now on, whatever the shapes
    /// scaled_dot_product_attention(&q, &kv, &kv, &Default::default()).await?;
    /// assert_eq!(gpu.choices()[0].source, ChoiceSource::Fixed);
    /// # Ok::<(), gqa::Error>(()) }).unwrap();
    /// ```
    pub fn choices(&self) -> Vec<Choice> {
        let made = lock(&self.inner().choices.made);
        let mut all: Vec<_> = made
            .iter()
            .map(|(class, (form, source))| Choice { class: class.to_string(), form, source: source.clone() })
            .collect();
        all.sort_by(|a, b| a.class.cmp(&b.class));
        all
    }

    /// The reason why choices could not be read from or written to the user's cache folder, if they could not. They still
    /// hold for this process.
    pub fn choices_problem(&self) -> Option<String> {
        lock(&self.inner().choices.problem).clone()
    }

    /// The name of the form chosen for this class, if any.
    pub(crate) fn chosen(&self, class: &Class) -> Option<&'static str> {
        lock(&self.inner().choices.made).get(class).map(|(form, _)| *form)
    }

    /// The name of the form that the caller fixed for this kernel, if any.
    pub(crate) fn fixed(&self, kernel: &str) -> Option<&'static str> {
        lock(&self.inner().choices.fixed).get(kernel).copied()
    }

    /// Fixes the form of this kernel, or with `None` returns to the chosen ones.
    pub(crate) fn fix(&self, kernel: &'static str, form: Option<&'static str>) {
        let mut fixed = lock(&self.inner().choices.fixed);
        match form {
            Some(form) => fixed.insert(kernel, form),
            None => {
                lock(&self.inner().choices.made).retain(|_, (_, source)| *source != ChoiceSource::Fixed);
                fixed.remove(kernel)
            }
        };
    }

    /// Browsers keep no choices for later pages.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn remembered(&self, _: &Class) -> Option<String> {
        None
    }

    /// Browsers keep no choices for later pages.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn remember(&self, _: &Class, _: &str) {}

    /// Whether the form of this class was measured, in this process or an earlier one.
    pub(crate) fn is_measured(&self, class: &Class) -> bool {
        let made = lock(&self.inner().choices.made);
        made.get(class).is_some_and(|(_, source)| *source != ChoiceSource::Default)
    }

    /// Stores a choice.
    pub(crate) fn choose(&self, class: Class, form: &'static str, source: ChoiceSource) {
        lock(&self.inner().choices.made).insert(class, (form, source));
    }
}
