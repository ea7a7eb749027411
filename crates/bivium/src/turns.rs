//! [`Turns`]: one at a time measures what many ask for, and those who asked before it began share what it finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Who measures next.
#[derive(Default)]
pub(crate) struct Turns {
    /// How many measurements have begun.
    begun: AtomicU64,
    /// The number of the last one that was finished. Locked while one is under way.
    finished: Arc<Mutex<u64>>,
}

/// The right to measure, alone, until it is dropped.
pub(crate) struct Turn {
    number: u64,
    finished: OwnedMutexGuard<u64>,
}

impl Turns {
    /// Waits for its turn. None if a measurement that began after this was asked is finished by then.
    pub(crate) async fn next(&self) -> Option<Turn> {
        let begun = self.begun.load(Ordering::Acquire);
        let finished = Arc::clone(&self.finished).lock_owned().await;
        (*finished <= begun).then(|| self.begin(finished))
    }

    /// A turn, unless somebody measures now.
    pub(crate) fn try_next(&self) -> Option<Turn> {
        Arc::clone(&self.finished).try_lock_owned().ok().map(|finished| self.begin(finished))
    }

    fn begin(&self, finished: OwnedMutexGuard<u64>) -> Turn {
        Turn { number: self.begun.fetch_add(1, Ordering::AcqRel) + 1, finished }
    }
}

impl Turn {
    /// What it measured is there for all. One that is dropped without this has measured nothing, and those who wait go themselves.
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
        // The first began before they asked.
        second.await.unwrap().finish();
        assert!(third.await.is_none(), "the second began after the third asked");
        assert!(turns.next().await.is_some());
    }

    #[tokio::test]
    async fn nobody_shares_a_measurement_that_was_given_up() {
        let turns = Turns::default();
        let first = turns.try_next().unwrap();
        let (mut second, mut third) = (pin!(turns.next()), pin!(turns.next()));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(first);
        drop(second.await.unwrap());
        assert!(third.await.is_some());
    }
}
