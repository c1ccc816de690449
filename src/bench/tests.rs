//! Suites on an adapter: what comes out is consistent, and nothing is lost when it ends early.

use std::ops::ControlFlow;

use super::timer::Timer;
use super::*;
use crate::gpu::Pass;
use crate::kernels::fma_peak::fma_peak;
use crate::{DType, Error, Gpu, Tensor};

fn gpu() -> Gpu {
    pollster::block_on(Gpu::from_env()).expect("the tests need an adapter")
}

fn go_on(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn rows_are_consistent_and_in_order() {
    let suite = Suite { cases: Suite::full().only("L2").cases, ..Suite::quick().repeated(2) };
    assert!(suite.cases.len() > 4);
    let mut done = 0.0;
    let mut told = Vec::new();
    let results = pollster::block_on(run(&gpu(), &suite, |progress| {
        assert!(progress.done >= done && progress.done <= progress.total as f64);
        done = progress.done;
        if let News::Row(row) = progress.news {
            told.push(row.clone());
        }
        ControlFlow::Continue(())
    }))
    .unwrap();
    assert!(results.complete && results.skipped.is_empty(), "{:?}", results.skipped);
    assert_eq!(done, suite.cases.len() as f64);
    // Shares go by the limits in the end.
    for (told, row) in told.iter_mut().zip(&results.rows) {
        assert!(told.share_of_roofline >= row.share_of_roofline);
        told.share_of_roofline = row.share_of_roofline;
    }
    assert_eq!(told, results.rows);
    let ids: Vec<_> = suite.cases.iter().map(|case| &case.id).collect();
    assert_eq!(results.rows.iter().map(|row| &row.id).collect::<Vec<_>>(), ids);
    for row in &results.rows {
        let Spread { repetitions, min, lower_quartile, median, upper_quartile, max } = row.time;
        assert_eq!(repetitions, 2);
        assert!(0.0 < min && min <= lower_quartile && lower_quartile <= median);
        assert!(median <= upper_quartile && upper_quartile <= max);
        let Roofline { f32_gflops, copy_gbytes } = results.roofline;
        let least = f64::max(row.flops / f32_gflops, row.bytes / copy_gbytes) * 1e-6;
        assert!((row.share_of_roofline * row.time.median / least - 1.0).abs() < 1e-9);
    }
    let json = serde_json::to_string(&results).unwrap();
    assert_eq!(serde_json::from_str::<BenchResults>(&json).unwrap(), results);
}

#[test]
fn a_cancelled_run_keeps_its_rows() {
    let suite = Suite::quick().only("L2").repeated(2);
    let gpu = gpu();
    let mut rows = 0;
    let stopped = run(&gpu, &suite, |progress| {
        rows += usize::from(matches!(progress.news, News::Row(_)));
        if rows == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let stopped = pollster::block_on(stopped).unwrap_err();
    assert_eq!(stopped.cause, Cause::Cancelled);
    let results = stopped.results.clone().unwrap();
    assert!(!results.complete);
    assert_eq!(results.rows.len(), 1);
    assert_eq!(stopped.to_string(), format!("cancelled; 1 of {} rows were measured", suite.cases.len()));

    let stopped = pollster::block_on(run(&gpu, &suite, |_| ControlFlow::Break(()))).unwrap_err();
    assert!(stopped.results.is_none());
}

#[test]
fn an_adapter_that_vanishes_ends_the_run_and_costs_no_row() {
    let gpu = gpu();
    let suite = Suite::quick().only("L2").repeated(2);
    let stopped = run(&gpu, &suite, |progress| {
        // After the layer, while the projections are timed.
        if let News::Timed(case) = progress.news
            && case.group == "linear"
        {
            gpu.device().destroy();
        }
        ControlFlow::Continue(())
    });
    let stopped = pollster::block_on(stopped).unwrap_err();
    assert!(matches!(stopped.cause, Cause::Failed(Error::DeviceLost { .. })), "{stopped}");
    let results = stopped.results.unwrap();
    assert!(!results.complete);
    assert_eq!(results.rows.iter().map(|row| row.group.as_str()).collect::<Vec<_>>(), ["layer"]);

    // From the beginning.
    let stopped = pollster::block_on(run(&gpu, &suite, go_on)).unwrap_err();
    assert!(matches!(stopped.cause, Cause::Failed(Error::DeviceLost { .. })), "{stopped}");
    assert!(stopped.results.is_none());
}

#[test]
fn what_takes_too_long_or_does_not_fit_is_skipped_with_the_reason() {
    let mut suite = Suite::quick().only("linear/L2").repeated(1);
    let mut slow = suite.cases[0].clone();
    slow.id = "slow".into();
    slow.sizes.query_len = 1 << 45;
    let mut large = suite.cases[0].clone();
    large.id = "large".into();
    large.sizes =
        Sizes { batch: 1, query_len: 1, query_heads: 1, head_dim: 1, features: 1 << 33, ..large.sizes };
    suite.seconds = 1e4;
    suite.cases.extend([slow, large]);
    let results = pollster::block_on(run(&gpu(), &suite, go_on)).unwrap();
    assert!(results.complete);
    assert_eq!(results.rows.len(), suite.cases.len() - 2);
    let [(slow, too_long), (large, too_large)] = &results.skipped[..] else {
        panic!("{:?}", results.skipped)
    };
    assert_eq!((slow.as_str(), large.as_str()), ("slow", "large"));
    assert!(too_long.contains("it would take about"), "{too_long}");
    assert!(too_large.contains("more than the"), "{too_large}");

    suite.seconds = 0.0;
    let results = pollster::block_on(run(&gpu(), &suite.only("linear/L2-key"), go_on)).unwrap();
    assert!(results.complete && results.rows.is_empty());
    assert!(results.skipped[0].1.contains("too long for the suite's 0 s"), "{:?}", results.skipped);
}

#[test]
fn the_time_follows_the_work() {
    let gpu = gpu();
    let times = async {
        let timer = Timer::new(&gpu).await?;
        let y = Tensor::empty(&gpu, [4096], DType::F32).await?;
        // The least time of each; other tests run at the same time, so it may take a while to meet a quiet moment.
        let mut least = [f64::INFINITY; 3];
        for _ in 0..60 {
            for (least, iterations) in least.iter_mut().zip([1, 250, 1000]) {
                let recorded = timer.sample(|encoder| {
                    let mut pass = Pass::begin(&gpu, encoder);
                    fma_peak(&mut pass, [4, iterations], [0.9, 0.1], y.range(), 4096)
                });
                let sample = recorded.await?.1;
                *least = least.min(timer.milliseconds(&sample).expect("possible timestamps"));
            }
            if (2.0..8.0).contains(&((least[2] - least[0]) / (least[1] - least[0]))) {
                return Ok::<_, Error>(());
            }
        }
        panic!("{least:?} ms for 1, 250 and 1000 iterations")
    };
    pollster::block_on(times).unwrap();
}

/// A device of the caller's with these features, if the adapter has them.
async fn device_with(features: wgpu::Features) -> Option<Gpu> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let wanted = gpu().adapter_info().clone();
    let same = |adapter: &wgpu::Adapter| {
        let info = adapter.get_info();
        (info.name, info.backend, info.driver_info)
            == (wanted.name.clone(), wanted.backend, wanted.driver_info.clone())
    };
    let adapter = found.into_iter().find(same)?;
    let descriptor = wgpu::DeviceDescriptor {
        required_features: features,
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await.ok()?;
    Gpu::from_wgpu(&adapter, device, queue).ok()
}

#[test]
fn every_way_to_take_the_time_gives_rows() {
    let passes = wgpu::Features::TIMESTAMP_QUERY;
    for (features, timing) in [
        (wgpu::Features::empty(), Timing::WallClock),
        (passes, Timing::GpuTimestamps),
        (passes | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS, Timing::GpuTimestamps),
    ] {
        let Some(gpu) = pollster::block_on(device_with(features)) else { continue };
        let suite = Suite::quick().only("linear/L2").repeated(2);
        let results = pollster::block_on(run(&gpu, &suite, go_on)).unwrap();
        assert_eq!(results.timing, timing, "{features:?}");
        assert_eq!(results.rows.len(), suite.cases.len(), "{features:?}: {:?}", results.skipped);
    }
}
