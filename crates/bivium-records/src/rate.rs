//! [`Rate`]: limits how many records one source may write per second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Admits a number of records per second and counts the rest.
#[derive(Debug)]
pub(crate) struct Rate {
    most: u32,
    window: Mutex<Window>,
    /// Since the count was last reported.
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    records: u32,
}

impl Rate {
    pub(crate) const WINDOW: Duration = Duration::from_secs(1);

    /// Admits `most` records per second.
    pub(crate) fn new(most: u32) -> Self {
        let window = Mutex::new(Window { since: Instant::now(), records: 0 });
        Self { most, window, dropped: AtomicU64::new(0) }
    }

    /// How many it admits per second.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// Whether one more record is admitted. If so, returns how many were dropped since the count was last reported.
    pub(crate) fn admit(&self) -> Option<u64> {
        let mut window = self.window();
        if window.since.elapsed() >= Self::WINDOW {
            window.since = Instant::now();
            window.records = 0;
        }
        if window.records == self.most {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        window.records += 1;
        drop(window);
        Some(self.dropped())
    }

    /// How many were dropped since the count was last reported.
    pub(crate) fn dropped(&self) -> u64 {
        // Each call asks at its end, and rarely has anything been dropped.
        match self.dropped.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.dropped.swap(0, Ordering::Relaxed),
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_over_the_limit_are_counted_and_reported_once() {
        let rate = Rate::new(2);
        assert_eq!([rate.admit(), rate.admit(), rate.admit(), rate.admit()], [Some(0), Some(0), None, None]);
        assert_eq!((rate.dropped(), rate.dropped()), (2, 0));
        rate.window().since = Instant::now().checked_sub(Rate::WINDOW).unwrap();
        assert_eq!([rate.admit(), rate.admit(), rate.admit()], [Some(0), Some(0), None]);
        rate.window().since = Instant::now().checked_sub(Rate::WINDOW).unwrap();
        assert_eq!(rate.admit(), Some(1));
    }
}
