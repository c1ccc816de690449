//! Waiting for a future in browsers, as the crate `pollster` does elsewhere: the same tests run there.
//!
//! A test is called through `WebAssembly.promising`, and waits in a function that is `WebAssembly.Suspending`: its stack
//! is put aside until that function's promise is kept. Between the two there may be no frame of JavaScript.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code)]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

// What `suspend.js` exports.
#[link(wasm_import_module = "./suspend.js")]
unsafe extern "C" {
    /// Suspends the test until `wake` is called, or not at all if it has been since the last time.
    safe fn sleep();
    safe fn wake();
}

/// What a future of this test wakes; there is one at a time.
struct Test;

impl Wake for Test {
    fn wake(self: Arc<Self>) {
        wake();
    }
}

/// What the future gives, once it is done.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    let waker = Arc::new(Test).into();
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => sleep(),
        }
    }
}

/// Called before any test: leaves the message of a panic in the page's variable `panicked`, because all that the caller gets
/// to see is that the module trapped.
#[unsafe(export_name = "prepare tests")]
extern "C" fn prepare() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.to_string().into();
        // Without the variable there is no message, and the test has failed all the same.
        let _ = js_sys::Reflect::set(&js_sys::global(), &"panicked".into(), &message);
    }));
}
