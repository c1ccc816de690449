//! Readback of GPU results: the only place that maps buffers for reading.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::sync::lock;
use super::{BufferRange, Gpu};
use crate::{Error, Result};

const OPERATION: &str = "readback";

/// Reads the bytes of a range, after all earlier submissions have run.
pub(super) async fn read(gpu: &Gpu, source: &wgpu::Buffer, range: BufferRange<'_>) -> Result<Vec<u8>> {
    if !source.usage().contains(wgpu::BufferUsages::COPY_SRC) {
        return Err(Error::argument(
            OPERATION,
            "buffer",
            "of usage COPY_SRC",
            format!("{:?}", source.usage()),
        ));
    }
    let size = range.bytes;
    let staging = gpu
        .checked(OPERATION, || {
            let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("gqa readback"),
                size,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            });
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(source, range.offset, &staging, 0, size);
            gpu.queue().submit([encoder.finish()]);
            Ok(staging)
        })
        .await?;

    let mapped = Signal::default();
    let done = mapped.clone();
    staging.map_async(wgpu::MapMode::Read, .., move |result| done.set(result.is_ok()));
    // In browsers the event loop polls, and this call returns at once.
    let polled = gpu.device().poll(wgpu::PollType::wait_indefinitely());
    if let Err(error) = polled {
        return Err(Error::Gpu { operation: OPERATION, message: error.to_string() });
    }
    if !mapped.await {
        gpu.check()?;
        return Err(Error::DeviceLost { reason: "a result could not be mapped".into() });
    }
    let view = staging.get_mapped_range(..);
    let bytes = match view {
        Ok(view) => view.to_vec(),
        Err(error) => return Err(Error::Gpu { operation: OPERATION, message: error.to_string() }),
    };
    staging.unmap();
    // In browsers a dropped buffer would wait for the garbage collector.
    staging.destroy();
    gpu.check()?;
    Ok(bytes)
}

impl Gpu {
    /// Waits until all earlier submissions have run.
    pub async fn finish(&self) -> Result<()> {
        let done = Signal::default();
        let signal = done.clone();
        self.queue().on_submitted_work_done(move || signal.set(true));
        if let Err(error) = self.device().poll(wgpu::PollType::wait_indefinitely()) {
            return Err(Error::Gpu { operation: "finish", message: error.to_string() });
        }
        // In browsers the event loop polls.
        if cfg!(target_arch = "wasm32") {
            done.await;
        }
        self.check()
    }
}

/// A future that a callback completes.
#[derive(Clone, Default)]
struct Signal(Arc<Mutex<(Option<bool>, Option<Waker>)>>);

impl Signal {
    fn set(&self, ok: bool) {
        let waker = {
            let mut state = lock(&self.0);
            state.0 = Some(ok);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Signal {
    type Output = bool;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.0);
        match state.0 {
            Some(ok) => Poll::Ready(ok),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
