//! [`Queue`]: the calls that wait for a place, in order, no more than a limit of them.
//!
//! One short lock keeps the places, the line, and what else must change together with them: a call that need not wait
//! pays for one lock when it comes and for one when it goes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bivium_interface::{CallHandle, CallId, PluginError, Progress, Result};
use tokio::sync::{oneshot, watch};

/// Hands out places to calls, first come, first served. A call waits under its deadline and its cancellation, and
/// one that would be a waiter too many is refused.
#[repr(C, align(64))]
pub(crate) struct Queue<S> {
    line: Mutex<Line<S>>,
    limit: u32,
    /// Told whenever the line moves.
    moved: watch::Sender<()>,
}

/// The places, and who waits for them. What every call writes lies together, and so in one line of a processor's cache:
/// the lock, `free`, and what `kept` begins with.
#[repr(C)]
pub(crate) struct Line<S> {
    free: usize,
    /// What is kept under the same lock.
    pub(crate) kept: S,
    waiting: BTreeMap<u64, Waiter>,
    /// How many of those are calls.
    calls: usize,
    next: u64,
    closed: bool,
}

struct Waiter {
    call: Option<CallId>,
    wants: usize,
    /// Told once the places are its own.
    give: oneshot::Sender<()>,
}

impl<S> Line<S> {
    /// Whether so many places are there and nobody waits for any.
    fn has(&self, places: usize) -> bool {
        self.free >= places && self.waiting.is_empty()
    }

    /// Whether anybody waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a place if one is free and nobody waits for it.
    pub(crate) fn take(&mut self) -> bool {
        let taken = self.has(1) && !self.closed;
        if taken {
            self.free -= 1;
        }
        taken
    }

    /// Gives so many places back, and on to those that wait.
    pub(crate) fn give(&mut self, places: usize) {
        self.free += places;
        while let Some(first) = self.waiting.first_entry().filter(|first| first.get().wants <= self.free) {
            let waiter = first.remove();
            self.free -= waiter.wants;
            self.calls -= usize::from(waiter.call.is_some());
            // A ticket that is dropped before it hears of it gives them back.
            let _ = waiter.give.send(());
        }
    }

    /// Refuses all that wait and all that come.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.calls = 0;
        self.waiting.clear();
    }
}

impl<S> Queue<S> {
    /// A queue for so many places, in which at most `limit` calls wait.
    pub(crate) fn new(kept: S, places: usize, limit: u32) -> Self {
        let line = Line { free: places, kept, waiting: BTreeMap::new(), calls: 0, next: 0, closed: false };
        Self { line: Mutex::new(line), limit, moved: watch::Sender::new(()) }
    }

    pub(crate) fn line(&self) -> MutexGuard<'_, Line<S>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place for a call, which goes back by [`Line::give`]. A call whose progress somebody watches is told how many are
    /// before it.
    ///
    /// # Errors
    /// `resource-exhausted` if too many wait already; `unavailable` once the queue is closed; `cancelled`; `timeout`.
    pub(crate) async fn wait(&self, call: &CallHandle) -> Result<()> {
        let ticket = self.line_up(Some(call.id()), 1)?;
        let number = ticket.number;
        let mut listened = false;
        let place = {
            let place = call.guard(ticket.places());
            let tell = async {
                let mut moved = self.moved.subscribe();
                while call.has_listener() {
                    listened = true;
                    call.report(Progress::new(None, self.describe(number)));
                    // The sender lives as long as we do.
                    let _ = moved.changed().await;
                }
                std::future::pending().await
            };
            tokio::select! {
                biased;
                place = place => place,
                never = tell => never,
            }
        };
        if listened {
            call.report(Progress::default());
        }
        place
    }

    /// Waits for so many places at once, without a call, behind all that wait and whatever their number. They go back
    /// by [`Line::give`].
    ///
    /// # Errors
    /// `unavailable` once the queue is closed.
    pub(crate) async fn wait_for(&self, places: usize) -> Result<()> {
        self.line_up(None, places)?.places().await
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.line().calls as u64
    }

    /// Where a call stands that waits: 1 is the next to get a place.
    pub(crate) fn position(&self, call: CallId) -> Option<usize> {
        let line = self.line();
        let mut calls = line.waiting.values().filter_map(|waiter| waiter.call);
        calls.position(|waiting| waiting == call).map(|before| before + 1)
    }

    fn describe(&self, number: u64) -> String {
        match self.line().waiting.range(..number).filter(|(_, waiter)| waiter.call.is_some()).count() {
            0 => "waiting: it is the next".to_owned(),
            1 => "waiting: 1 call is before it".to_owned(),
            before => format!("waiting: {before} calls are before it"),
        }
    }

    fn line_up(&self, call: Option<CallId>, wants: usize) -> Result<Ticket<'_, S>> {
        let mut line = self.line();
        if line.closed {
            return Err(closed());
        }
        if call.is_some() && line.calls >= self.limit as usize && !line.has(wants) {
            let message = format!("{} calls wait already, and `limits.queue` allows no more", line.calls);
            return Err(PluginError::resource_exhausted(message)
                .with_help("try again later, or raise `limits.queue` in the plugin's manifest"));
        }
        let (give, given) = oneshot::channel();
        let number = line.next;
        line.next += 1;
        line.calls += usize::from(call.is_some());
        line.waiting.insert(number, Waiter { call, wants, give });
        // What it wants may be there.
        line.give(0);
        Ok(Ticket { queue: self, number, wants, given })
    }
}

fn closed() -> PluginError {
    PluginError::unavailable("the plugin is unloaded").with_help("load it again")
}

/// A waiter's place in the line while it lives.
struct Ticket<'a, S> {
    queue: &'a Queue<S>,
    number: u64,
    wants: usize,
    given: oneshot::Receiver<()>,
}

impl<S> Ticket<'_, S> {
    async fn places(mut self) -> Result<()> {
        (&mut self.given).await.map_err(|_| closed())
    }
}

impl<S> Drop for Ticket<'_, S> {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        let unheard = match line.waiting.remove(&self.number) {
            Some(waiter) => {
                line.calls -= usize::from(waiter.call.is_some());
                0
            }
            None => self.given.try_recv().map_or(0, |()| self.wants),
        };
        line.give(unheard);
        drop(line);
        self.queue.moved.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bivium_interface::{Call, ErrorCode};

    use super::*;

    type Queue = super::Queue<()>;

    /// A place that goes back when it is dropped.
    struct Place(Arc<Queue>);

    impl Drop for Place {
        fn drop(&mut self) {
            self.0.line().give(1);
        }
    }

    impl std::fmt::Debug for Place {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Place").finish_non_exhaustive()
        }
    }

    async fn enter(queue: &Arc<Queue>, call: &CallHandle) -> Result<Place> {
        queue.wait(call).await?;
        Ok(Place(Arc::clone(queue)))
    }

    fn wait(queue: &Arc<Queue>, call: &Call) -> tokio::task::JoinHandle<Result<Place>> {
        let (queue, handle) = (Arc::clone(queue), call.handle().clone());
        tokio::spawn(async move { enter(&queue, &handle).await })
    }

    async fn until_waiting(queue: &Queue, count: u64) {
        while queue.waiting() != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn calls_stand_in_line_and_one_too_many_is_refused() {
        let queue = Arc::new(Queue::new((), 1, 2));
        let (first, second, third) = (Call::new(), Call::new(), Call::new());
        let held = enter(&queue, first.handle()).await.unwrap();
        let waits = [wait(&queue, &second), wait(&queue, &third)];
        until_waiting(&queue, 2).await;
        assert_eq!([&first, &second, &third].map(|call| queue.position(call.id())), [None, Some(1), Some(2)]);

        let error = enter(&queue, Call::new().handle()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
        assert!(error.message().contains("2 calls wait") && error.message().contains("limits.queue"), "{error}");

        second.handle().cancel();
        let [second, third_waits] = waits;
        assert_eq!(second.await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
        assert_eq!(queue.position(third.id()), Some(1), "it has moved up");
        drop(held);
        drop(third_waits.await.unwrap().unwrap());
        assert_eq!(queue.waiting(), 0);
    }

    #[tokio::test]
    async fn a_watched_call_hears_where_it_stands() {
        let queue = Arc::new(Queue::new((), 1, 9));
        let held = enter(&queue, Call::new().handle()).await.unwrap();
        let (before, watched) = (Call::new(), Call::new());
        let mut progress = watched.handle().progress();
        let before_waits = wait(&queue, &before);
        until_waiting(&queue, 1).await;
        let watched_waits = wait(&queue, &watched);
        let mut heard = async |message: &str| {
            let changed = progress.wait_for(|progress| progress.message == message);
            tokio::time::timeout(Duration::from_secs(5), changed).await.expect(message).unwrap();
        };
        heard("waiting: 1 call is before it").await;
        before.handle().cancel();
        heard("waiting: it is the next").await;
        drop(held);
        heard("").await;
        assert!(before_waits.await.unwrap().is_err());
        assert!(watched_waits.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn who_wants_all_waits_for_all_and_others_wait_behind() {
        let queue = Arc::new(Queue::new((), 2, 9));
        let held =
            [enter(&queue, Call::new().handle()).await.unwrap(), enter(&queue, Call::new().handle()).await.unwrap()];
        let all = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.wait_for(2).await })
        };
        while queue.line().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let call = Call::new();
        let behind = wait(&queue, &call);
        until_waiting(&queue, 1).await;
        assert_eq!(queue.position(call.id()), Some(1), "only calls count");
        let [first, second] = held;
        drop(first);
        assert_eq!(queue.line().free, 1, "neither has enough or its turn");
        drop(second);
        all.await.unwrap().unwrap();
        assert!(!behind.is_finished());
        queue.line().give(2);
        drop(behind.await.unwrap().unwrap());
        assert_eq!(queue.line().free, 2);
    }

    #[tokio::test]
    async fn a_place_that_was_given_to_a_waiter_that_left_is_given_on() {
        let queue = Arc::new(Queue::new((), 1, 9));
        let held = enter(&queue, Call::new().handle()).await.unwrap();
        let unheard = queue.line_up(Some(CallId::next()), 1).unwrap();
        let call = Call::new();
        let behind = wait(&queue, &call);
        until_waiting(&queue, 2).await;
        drop(held);
        assert_eq!(queue.waiting(), 1, "the first has it");
        drop(unheard);
        drop(behind.await.unwrap().unwrap());
        assert_eq!(queue.line().free, 1);
    }

    #[tokio::test]
    async fn a_closed_queue_refuses_those_that_wait_and_those_that_come() {
        let queue = Arc::new(Queue::new((), 1, 9));
        let held = enter(&queue, Call::new().handle()).await.unwrap();
        let waits = wait(&queue, &Call::new());
        until_waiting(&queue, 1).await;
        queue.line().close();
        assert_eq!(waits.await.unwrap().unwrap_err().code(), ErrorCode::Unavailable);
        drop(held);
        assert_eq!(enter(&queue, Call::new().handle()).await.unwrap_err().code(), ErrorCode::Unavailable);
        assert_eq!(queue.waiting(), 0);
    }
}
