//! Optimizers with their slots.

use std::cell::RefCell;
use std::rc::Rc;

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{argument, coded};

/// An optimizer and its slots. While a step is under way, the step has it.
#[wasm_bindgen]
pub struct Optimizer(pub(crate) Slot);

pub(crate) type Slot = Rc<RefCell<Option<gqa::training::Optimizer>>>;

/// Takes the optimizer for a step; [`give`] brings it back.
pub(crate) fn take(slot: &Slot) -> Result<gqa::training::Optimizer, JsValue> {
    let taken = slot.borrow_mut().take();
    taken.ok_or_else(|| coded("argument", "`optimizer` must be free, but takes a step of another layer"))
}

pub(crate) fn give(slot: &Slot, optimizer: gqa::training::Optimizer) {
    *slot.borrow_mut() = Some(optimizer);
}

#[wasm_bindgen]
impl Optimizer {
    /// One of `sgd`, `adam` and `adamw`, with Keras' defaults.
    #[wasm_bindgen(constructor)]
    pub fn new(kind: &str) -> Result<Self, JsValue> {
        let optimizer = match kind {
            "sgd" => gqa::training::Optimizer::sgd(),
            "adam" => gqa::training::Optimizer::adam(),
            "adamw" => gqa::training::Optimizer::adamw(),
            other => return Err(argument("kind", "sgd, adam or adamw", &format!("`{other}`"))),
        };
        Ok(Self(Rc::new(RefCell::new(Some(optimizer)))))
    }

    /// Sets an option; one that this kind does not have is refused by the first step.
    pub fn set(&self, name: &str, value: f64) -> Result<(), JsValue> {
        let optimizer = take(&self.0)?;
        let optimizer = match name {
            "learningRate" => optimizer.with_learning_rate(value),
            "momentum" => optimizer.with_momentum(value),
            "nesterov" => optimizer.with_nesterov(value != 0.0),
            "weightDecay" => optimizer.with_weight_decay(Some(value)),
            "epsilon" => optimizer.with_epsilon(value),
            "globalClipnorm" => optimizer.with_global_clipnorm(Some(value)),
            other => return Err(argument("options", "known options", &format!("`{other}`"))),
        };
        give(&self.0, optimizer);
        Ok(())
    }

    /// Sets both decay rates of Adam.
    #[wasm_bindgen(js_name = setBetas)]
    pub fn set_betas(&self, beta1: f64, beta2: f64) -> Result<(), JsValue> {
        let optimizer = take(&self.0)?.with_betas(beta1, beta2);
        give(&self.0, optimizer);
        Ok(())
    }

    /// How many steps it has taken.
    #[wasm_bindgen(getter)]
    pub fn iterations(&self) -> f64 {
        self.0.borrow().as_ref().map_or(0, gqa::training::Optimizer::iterations) as f64
    }
}
