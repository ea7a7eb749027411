//! [`Rate`]: how many records one source may write in a second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lets so many records a second through and counts the rest.
#[derive(Debug)]
pub(crate) struct Rate {
    most: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    records: u32,
    dropped: u64,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(1);

    /// Lets `most` records a second through.
    pub(crate) fn new(most: u32) -> Self {
        Self { most, window: Mutex::new(Window { since: Instant::now(), records: 0, dropped: 0 }) }
    }

    /// How many it lets through in a second.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// Whether one more may go through, and if so how many were dropped since that was last told.
    pub(crate) fn admit(&self) -> Option<u64> {
        let mut window = self.window();
        if window.since.elapsed() >= Self::WINDOW {
            window.since = Instant::now();
            window.records = 0;
        }
        if window.records == self.most {
            window.dropped += 1;
            return None;
        }
        window.records += 1;
        Some(std::mem::take(&mut window.dropped))
    }

    /// How many were dropped since that was last told.
    pub(crate) fn dropped(&self) -> u64 {
        std::mem::take(&mut self.window().dropped)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_told_once() {
        let rate = Rate::new(2);
        assert_eq!([rate.admit(), rate.admit(), rate.admit(), rate.admit()], [Some(0), Some(0), None, None]);
        assert_eq!((rate.dropped(), rate.dropped()), (2, 0));
        rate.window().since = Instant::now().checked_sub(Rate::WINDOW).unwrap();
        assert_eq!([rate.admit(), rate.admit(), rate.admit()], [Some(0), Some(0), None]);
        rate.window().since = Instant::now().checked_sub(Rate::WINDOW).unwrap();
        assert_eq!(rate.admit(), Some(1));
    }
}
