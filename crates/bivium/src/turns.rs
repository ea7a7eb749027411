//! [`Turns`]: lets one task at a time measure. Tasks that asked before a measurement began share its result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Gives tasks the right to measure, one at a time.
#[derive(Default)]
pub(crate) struct Turns {
    /// The number of measurements that have begun.
    begun: AtomicU64,
    /// The number of the last measurement that was finished. Locked during a measurement.
    finished: Arc<Mutex<u64>>,
}

/// The exclusive right to measure, until it is dropped.
pub(crate) struct Turn {
    number: u64,
    finished: OwnedMutexGuard<u64>,
}

impl Turns {
    /// Waits for a turn. `None` if a measurement that began after this call has finished meanwhile.
    pub(crate) async fn next(&self) -> Option<Turn> {
        let begun = self.begun.load(Ordering::Acquire);
        let finished = Arc::clone(&self.finished).lock_owned().await;
        (*finished <= begun).then(|| self.begin(finished))
    }

    /// A turn, unless another task is measuring.
    pub(crate) fn try_next(&self) -> Option<Turn> {
        Arc::clone(&self.finished).try_lock_owned().ok().map(|finished| self.begin(finished))
    }

    fn begin(&self, finished: OwnedMutexGuard<u64>) -> Turn {
        Turn { number: self.begun.fetch_add(1, Ordering::AcqRel) + 1, finished }
    }
}

impl Turn {
    /// Marks the measurement as finished, so that waiting tasks use its result. If a turn is dropped without this, they measure themselves.
    pub(crate) fn finish(mut self) {
        *self.finished = self.number;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_before_a_measurement_begins_share_it() {
        let turns = Turns::default();
        let first = turns.next().await.unwrap();
        let (mut second, mut third) = (pin!(turns.next()), pin!(turns.next()));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert!(turns.try_next().is_none(), "somebody measures");
        first.finish();
        // The first measurement began before they asked.
        second.await.unwrap().finish();
        assert!(third.await.is_none(), "the second began after the third asked");
        assert!(turns.next().await.is_some());
    }

    #[tokio::test]
    async fn a_dropped_measurement_is_not_shared() {
        let turns = Turns::default();
        let first = turns.try_next().unwrap();
        let (mut second, mut third) = (pin!(turns.next()), pin!(turns.next()));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(first);
        drop(second.await.unwrap());
        assert!(third.await.is_some());
    }
}
