//! Progress of a call.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::clip;

/// The progress of a call, as its plugin reports it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// From 0 to 1; none if the plugin does not know.
    pub fraction: Option<f64>,
    /// What the plugin is doing; may be empty.
    #[serde(default)]
    pub message: String,
    /// Estimated seconds until the end. The host computes it from the rate of the reports so far; none if there is no rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<f64>,
}

impl Progress {
    /// The longest message that is stored, in bytes: progress is shown on one line.
    const MAX_MESSAGE: usize = 1024;

    /// A report with valid values: a fraction that is not a number becomes unknown, one outside 0 to 1 becomes 0 or 1, and a long
    /// message is cut.
    #[must_use]
    pub fn new(fraction: Option<f64>, message: impl Into<String>) -> Self {
        let message = clip(message.into(), Self::MAX_MESSAGE);
        let fraction = fraction.filter(|f| !f.is_nan()).map(|f| f.clamp(0.0, 1.0));
        Self { fraction, message, eta_s: None }
    }
}

/// The rate of a call's progress. Older reports count less.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<(Instant, f64)>,
    /// The fraction of the work done per second, and the sum of the weights so far, which is less than one at first.
    rate: f64,
    weight: f64,
}

impl Pace {
    /// A report of this age, in seconds, counts one third.
    const MEMORY_S: f64 = 15.0;
    /// Reports less than this many seconds apart count as one.
    const STEP_S: f64 = 0.01;

    /// Takes a report into account and returns the estimated seconds until the end.
    pub(crate) fn observe(&mut self, now: Instant, fraction: Option<f64>) -> Option<f64> {
        let fraction = fraction?;
        match self.last {
            Some((then, before)) if fraction >= before => {
                let time = now.saturating_duration_since(then).as_secs_f64();
                if time >= Self::STEP_S {
                    let share = 1.0 - (-time / Self::MEMORY_S).exp();
                    self.rate += share * ((fraction - before) / time - self.rate);
                    self.weight += share * (1.0 - self.weight);
                    self.last = Some((now, fraction));
                }
            }
            // The first report, or a step back: measuring starts again.
            _ => *self = Self { last: Some((now, fraction)), ..Self::default() },
        }
        // No estimate before there is a rate, and none if there is no progress.
        let left = (1.0 - fraction) * self.weight / self.rate;
        left.is_finite().then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The seconds left after reports at these times, rounded.
    fn after(reports: &[(f64, f64)]) -> Option<f64> {
        let (begin, mut pace) = (Instant::now(), Pace::default());
        let observe = |&(time, fraction): &(f64, f64)| {
            pace.observe(begin + Duration::from_secs_f64(time), Some(fraction)).map(f64::round)
        };
        reports.iter().map(observe).last().flatten()
    }

    #[test]
    fn the_time_to_the_end_follows_the_rate() {
        assert_eq!(after(&[(0.0, 0.2)]), None, "one report has no rate");
        assert_eq!(after(&[(0.0, 0.0), (1.0, 0.01), (2.0, 0.02), (3.0, 0.03)]), Some(97.0));
        assert_eq!(after(&[(0.0, 0.5), (10.0, 0.6)]), Some(40.0));
        let slower: Vec<_> = (0..=20).map(|n| (f64::from(n), 0.02 * f64::from(n))).collect();
        assert_eq!(after(&slower), Some(30.0));
        let slower: Vec<_> = slower.into_iter().chain((1..=60).map(|n| (20.0 + f64::from(n), 0.4))).collect();
        assert!(after(&slower).unwrap() > 1000.0, "it stands still");
        assert_eq!(after(&[(0.0, 0.0), (1.0, 0.9), (2.0, 0.1)]), None, "another round");
        assert_eq!(after(&[(0.0, 0.0), (4.0, 1.0)]), Some(0.0));
        let flood: Vec<_> = (0..100_000).map(|n| (f64::from(n) * 1e-5, f64::from(n) * 1e-6)).collect();
        assert_eq!(after(&flood), Some(9.0));
    }

    #[test]
    fn a_report_without_a_fraction_does_not_change_the_rate() {
        let (begin, mut pace) = (Instant::now(), Pace::default());
        let at = |seconds| begin + Duration::from_secs(seconds);
        pace.observe(at(0), Some(0.0));
        assert_eq!(pace.observe(at(1), None), None);
        assert_eq!(pace.observe(at(2), Some(0.5)), Some(2.0));
    }

    #[test]
    fn fractions_and_messages_are_brought_into_range() {
        assert_eq!(Progress::new(Some(7.0), "").fraction, Some(1.0));
        assert_eq!(Progress::new(Some(-1.0), "").fraction, Some(0.0));
        assert_eq!(Progress::new(Some(f64::NAN), "").fraction, None);
        let message = Progress::new(None, "é".repeat(1 << 20)).message;
        assert_eq!(message.len(), 1024);
        assert!(message.capacity() <= 2048, "what was cut off is kept: {}", message.capacity());
    }
}
