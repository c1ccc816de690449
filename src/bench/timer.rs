//! How long commands take: by GPU timestamps where they can be trusted, by the wall clock otherwise.

use web_time::Instant;

use super::Timing;
use crate::{DType, Error, Gpu, Result, Tensor};

const OPERATION: &str = "bench";

/// A stopwatch around recorded commands.
pub(super) struct Timer {
    gpu: Gpu,
    stamps: Option<Stamps>,
    /// What is read when there are no timestamps to read.
    probe: Tensor,
}

/// Two timestamps and where they are read.
struct Stamps {
    queries: wgpu::QuerySet,
    /// `[4]` words: begin and end, in ticks of 64 bits.
    ticks: Tensor,
    ms_per_tick: f64,
}

/// The time of one submission by both clocks, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// From before the submission until the queue is idle.
    wall: f64,
    /// Between the timestamps, if there are any.
    stamped: Option<f64>,
}

impl Timer {
    /// With timestamps if the device has them.
    pub(super) async fn new(gpu: &Gpu) -> Result<Self> {
        let stamps = match gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            true => Some(Stamps::new(gpu).await?),
            false => None,
        };
        Ok(Self { gpu: gpu.clone(), stamps, probe: Tensor::from_slice(gpu, [1], &[0.0f32]).await? })
    }

    pub(super) fn timing(&self) -> Timing {
        match self.stamps {
            Some(_) => Timing::GpuTimestamps,
            None => Timing::WallClock,
        }
    }

    /// Submits what `record` records and waits for it. Returns what `record` did, and the time.
    pub(super) async fn sample<T>(
        &self,
        record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<T>,
    ) -> Result<(T, Sample)> {
        let gpu = &self.gpu;
        let (recorded, start) = gpu
            .checked(OPERATION, || {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                let recorded = match &self.stamps {
                    None => record(&mut encoder)?,
                    Some(stamps) => stamps.around(&mut encoder, record)?,
                };
                let commands = encoder.finish();
                let start = Instant::now();
                gpu.queue().submit([commands]);
                Ok((recorded, start))
            })
            .await?;
        gpu.finish().await?;
        let wall = start.elapsed().as_secs_f64() * 1e3;
        let stamped = match &self.stamps {
            Some(stamps) => Some(stamps.read().await?),
            // A device that was lost has finished everything at once, but can't be read.
            None => self.probe.to_vec::<f32>().await.map(|_| None)?,
        };
        Ok((recorded, Sample { wall, stamped }))
    }

    /// Whether the timestamps of this sample, of work that took long, make sense, if there are any.
    pub(super) fn trusts(&self, long: &Sample) -> bool {
        self.stamps.is_none() || long.stamps_agree()
    }

    /// From now on the wall clock counts.
    pub(super) fn give_up_timestamps(&mut self) {
        self.stamps = None;
    }

    /// The milliseconds that count, [`timing`](Self::timing) says whose; `None` where the timestamps can't be true.
    pub(super) fn milliseconds(&self, sample: &Sample) -> Option<f64> {
        match self.stamps {
            Some(_) => sample.stamped.filter(|_| sample.stamps_are_possible()),
            None => Some(sample.wall),
        }
    }
}

/// What two clocks may differ by in rate, and in milliseconds for their resolution.
const CLOCK_RATE: f64 = 1.02;
const CLOCK_RESOLUTION: f64 = 0.2;

impl Sample {
    /// Time has passed, and no more than by the wall clock.
    fn stamps_are_possible(&self) -> bool {
        self.stamped.is_some_and(|ms| ms > 0.0 && ms <= self.wall * CLOCK_RATE + CLOCK_RESOLUTION)
    }

    /// Of work that took long, they show most of the time.
    fn stamps_agree(&self) -> bool {
        self.stamps_are_possible() && self.stamped.is_some_and(|ms| ms >= 0.5 * self.wall)
    }

    pub(super) fn wall(&self) -> f64 {
        self.wall
    }
}

impl Stamps {
    async fn new(gpu: &Gpu) -> Result<Self> {
        let (queries, buffer) = gpu
            .checked(OPERATION, || {
                let queries = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("gqa bench"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2,
                });
                let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                    label: Some("gqa bench"),
                    size: 16,
                    usage: wgpu::BufferUsages::QUERY_RESOLVE
                        | wgpu::BufferUsages::STORAGE
                        | wgpu::BufferUsages::COPY_SRC,
                    mapped_at_creation: false,
                });
                Ok((queries, buffer))
            })
            .await?;
        // Bits, whatever the type.
        let ticks = Tensor::from_buffer(gpu, buffer, 0, [4], DType::F32)?;
        let ms_per_tick = f64::from(gpu.queue().get_timestamp_period()) * 1e-6;
        Ok(Self { queries, ticks, ms_per_tick })
    }

    fn around<T>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<T>,
    ) -> Result<T> {
        self.stamp(encoder, 0);
        let recorded = record(encoder)?;
        self.stamp(encoder, 1);
        encoder.resolve_query_set(&self.queries, 0..2, self.ticks.buffer(), 0);
        Ok(recorded)
    }

    /// Everywhere an empty pass can write a timestamp; in an encoder itself only some devices can.
    fn stamp(&self, encoder: &mut wgpu::CommandEncoder, index: u32) {
        if self.ticks.gpu().device().features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS) {
            return encoder.write_timestamp(&self.queries, index);
        }
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: None,
            end_of_pass_write_index: Some(index),
        };
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) };
        drop(encoder.begin_compute_pass(&descriptor));
    }

    /// Milliseconds between the two; negative if they are the wrong way round.
    async fn read(&self) -> Result<f64> {
        let words = self.ticks.to_vec::<f32>().await?;
        let [begin_low, begin_high, end_low, end_high] = words[..] else {
            let message = format!("{} words of timestamps", words.len());
            return Err(Error::Gpu { operation: OPERATION, message });
        };
        let ticks = |low: f32, high: f32| u64::from(high.to_bits()) << 32 | u64::from(low.to_bits());
        let passed = ticks(end_low, end_high).wrapping_sub(ticks(begin_low, begin_high)) as i64;
        Ok(passed as f64 * self.ms_per_tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(wall: f64, stamped: f64) -> Sample {
        Sample { wall, stamped: Some(stamped) }
    }

    #[test]
    fn timestamps_that_contradict_the_wall_clock_are_found_out() {
        for nonsense in [0.0, -3.0, 25.0, 1e9, f64::NAN, f64::INFINITY] {
            assert!(!sample(20.0, nonsense).stamps_are_possible(), "{nonsense}");
        }
        for sense in [19.0, 20.1, 0.1] {
            assert!(sample(20.0, sense).stamps_are_possible(), "{sense}");
        }
        assert!(sample(20.0, 19.0).stamps_agree());
        assert!(!sample(20.0, 0.1).stamps_agree(), "markers that the work did not wait for");
        assert!(!Sample { wall: 1.0, stamped: None }.stamps_are_possible());
    }
}
