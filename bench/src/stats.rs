//! [`Stats`]: statistics of a series of samples.

use serde::Serialize;

/// Median and spread of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stats {
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
    /// The number of samples.
    pub n: usize,
}

impl Stats {
    /// The statistics of these samples; `None` if there are none.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let n = sorted.len();
        Some(Self { median: quantile(&sorted, 0.5)?, p10: quantile(&sorted, 0.1)?, p90: quantile(&sorted, 0.9)?, n })
    }
}

/// The quantile of a sorted series by the nearest-rank method.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_by_nearest_rank() {
        let samples: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        assert_eq!(Stats::of(&samples), Some(Stats { median: 5.0, p10: 1.0, p90: 9.0, n: 10 }));
        assert_eq!(Stats::of(&[7.0]), Some(Stats { median: 7.0, p10: 7.0, p90: 7.0, n: 1 }));
        assert_eq!(Stats::of(&[]), None);
    }
}
