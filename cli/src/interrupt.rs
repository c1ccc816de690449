//! Ctrl-C: the first stops in good order, the second at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

static STOP: AtomicBool = AtomicBool::new(false);
static KEEPS: OnceLock<&str> = OnceLock::new();

/// Listens for Ctrl-C from now on; `keeps` says what is kept then.
pub(crate) fn listen(keeps: &'static str) -> Result<()> {
    KEEPS.get_or_init(|| keeps);
    ctrlc::set_handler(interrupt).context("can't listen for Ctrl-C")
}

/// Whether somebody wants this to stop.
pub(crate) fn wanted() -> bool {
    STOP.load(Ordering::Relaxed)
}

fn interrupt() {
    if STOP.swap(true, Ordering::Relaxed) {
        std::process::exit(130);
    }
    let keeps = KEEPS.get().copied().unwrap_or_default();
    eprintln!("gqa: stopping, and keeping {keeps}; once more to quit at once");
}
