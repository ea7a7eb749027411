//! Measures times.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::stats::quantile;

/// Microseconds.
pub fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Runs the work `warm_up` times, then `count` times more, and returns the time of each of the latter.
///
/// # Errors
/// The first error of the work.
pub async fn each(warm_up: usize, count: usize, mut work: impl AsyncFnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for n in 0..warm_up + count {
        let begun = Instant::now();
        work().await?;
        let took = begun.elapsed();
        times.extend((n >= warm_up).then_some(took));
    }
    Ok(times)
}

/// As [`each`], for work that is not async.
///
/// # Errors
/// The first error of the work.
pub fn each_blocking(warm_up: usize, count: usize, mut work: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for n in 0..warm_up + count {
        let begun = Instant::now();
        work()?;
        let took = begun.elapsed();
        times.extend((n >= warm_up).then_some(took));
    }
    Ok(times)
}

/// The calls that several callers made in one stretch of time.
pub struct Load {
    pub per_second: f64,
    pub p99_us: f64,
}

/// The load from the times of each caller's calls within `stretch`.
pub fn load(stretch: Duration, callers: Vec<Vec<Duration>>) -> Load {
    let mut times: Vec<f64> = callers.into_iter().flatten().map(us).collect();
    times.sort_unstable_by(f64::total_cmp);
    Load {
        per_second: times.len() as f64 / stretch.as_secs_f64(),
        p99_us: quantile(&times, 0.99).unwrap_or(f64::INFINITY),
    }
}
