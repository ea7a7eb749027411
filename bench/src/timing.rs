//! Times one thing after another.

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

/// Does it `warm_up` times unseen, then gives the time of each of `count` more.
///
/// # Errors
/// The first of the work's own.
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

/// The same of work that waits for nothing.
///
/// # Errors
/// The first of the work's own.
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

/// What some callers got done in one stretch of time.
pub struct Load {
    pub per_second: f64,
    pub p99_us: f64,
}

/// The load of callers that each give the times of their calls, all within `stretch`.
pub fn load(stretch: Duration, callers: Vec<Vec<Duration>>) -> Load {
    let mut times: Vec<f64> = callers.into_iter().flatten().map(us).collect();
    times.sort_unstable_by(f64::total_cmp);
    Load {
        per_second: times.len() as f64 / stretch.as_secs_f64(),
        p99_us: quantile(&times, 0.99).unwrap_or(f64::INFINITY),
    }
}
