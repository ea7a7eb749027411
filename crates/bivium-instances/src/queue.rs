//! [`Queue`]: the calls that wait for a place, in order and up to a limit.
//!
//! One short lock protects the places, the waiting calls, and what must change together with them. A call that need not wait
//! locks once when it comes and once when it ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bivium_interface::{CallHandle, CallId, PluginError, Progress, Result};
use tokio::sync::{oneshot, watch};

/// Gives places to calls, first come, first served. A call waits under its deadline and its cancellation. If too many wait
/// already, it is refused.
#[repr(C, align(64))]
pub(crate) struct Queue<S> {
    state: Mutex<QueueState<S>>,
    limit: u32,
    /// Notified whenever a waiting call leaves.
    moved: watch::Sender<()>,
}

/// The places, and who waits for them. What every call writes lies together in one line of the processor's cache: the lock,
/// `free`, and the first fields of `slots`.
#[repr(C)]
pub(crate) struct QueueState<S> {
    free: usize,
    /// What the same lock protects.
    pub(crate) slots: S,
    waiting: BTreeMap<u64, Waiter>,
    /// How many of those are calls.
    calls: usize,
    next: u64,
    closed: bool,
}

struct Waiter {
    call: Option<CallId>,
    wants: usize,
    /// Notified once the waiter has its places.
    give: oneshot::Sender<()>,
}

impl<S> QueueState<S> {
    /// Whether this many places are free and nobody waits for any.
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

    /// Gives places back, and passes them on to those that wait.
    pub(crate) fn give(&mut self, places: usize) {
        self.free += places;
        while let Some(first) = self.waiting.first_entry().filter(|first| first.get().wants <= self.free) {
            let waiter = first.remove();
            self.free -= waiter.wants;
            self.calls -= usize::from(waiter.call.is_some());
            // A ticket that is dropped before it is notified gives them back.
            let _ = waiter.give.send(());
        }
    }

    /// Refuses all that wait and all later ones.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.calls = 0;
        self.waiting.clear();
    }
}

impl<S> Queue<S> {
    /// A queue for this many places, in which at most `limit` calls wait.
    pub(crate) fn new(slots: S, places: usize, limit: u32) -> Self {
        let state = QueueState { free: places, slots, waiting: BTreeMap::new(), calls: 0, next: 0, closed: false };
        Self { state: Mutex::new(state), limit, moved: watch::Sender::new(()) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, QueueState<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place for a call; [`QueueState::give`] gives it back. If somebody listens to the call's progress, it is told how
    /// many calls are before it.
    ///
    /// # Errors
    /// `resource-exhausted` if too many wait already; `unavailable` once the queue is closed; `cancelled`; `timeout`.
    pub(crate) async fn wait(&self, call: &CallHandle) -> Result<()> {
        let ticket = self.join(Some(call.id()), 1)?;
        let number = ticket.number;
        let mut listened = false;
        let place = {
            let place = call.guard(ticket.places());
            let tell = async {
                let mut moved = self.moved.subscribe();
                while call.has_listener() {
                    listened = true;
                    call.report(Progress::new(None, self.describe(number)));
                    // The sender lives as long as the queue.
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

    /// Waits for this many places at once, without a call, behind all that wait already and without a limit on their number.
    /// [`QueueState::give`] gives them back.
    ///
    /// # Errors
    /// `unavailable` once the queue is closed.
    pub(crate) async fn wait_for(&self, places: usize) -> Result<()> {
        self.join(None, places)?.places().await
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.lock().calls as u64
    }

    /// The position of a waiting call: 1 is the next to get a place.
    pub(crate) fn position(&self, call: CallId) -> Option<usize> {
        let state = self.lock();
        let mut calls = state.waiting.values().filter_map(|waiter| waiter.call);
        calls.position(|waiting| waiting == call).map(|before| before + 1)
    }

    fn describe(&self, number: u64) -> String {
        match self.lock().waiting.range(..number).filter(|(_, waiter)| waiter.call.is_some()).count() {
            0 => "waiting: it is the next".to_owned(),
            1 => "waiting: 1 call is before it".to_owned(),
            before => format!("waiting: {before} calls are before it"),
        }
    }

    fn join(&self, call: Option<CallId>, wants: usize) -> Result<Ticket<'_, S>> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        if call.is_some() && state.calls >= self.limit as usize && !state.has(wants) {
            let message = format!("{} calls are waiting already, and `limits.queue` allows no more", state.calls);
            return Err(PluginError::resource_exhausted(message)
                .with_help("try again later, or raise `limits.queue` in the plugin's manifest"));
        }
        let (give, given) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.calls += usize::from(call.is_some());
        state.waiting.insert(number, Waiter { call, wants, give });
        // The places that it wants may be free.
        state.give(0);
        Ok(Ticket { queue: self, number, wants, given })
    }
}

fn closed() -> PluginError {
    PluginError::unavailable("the plugin is unloaded").with_help("load it again")
}

/// A waiter in the queue, until it is dropped.
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
        let mut state = self.queue.lock();
        let unheard = match state.waiting.remove(&self.number) {
            Some(waiter) => {
                state.calls -= usize::from(waiter.call.is_some());
                0
            }
            None => self.given.try_recv().map_or(0, |()| self.wants),
        };
        state.give(unheard);
        drop(state);
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

    /// A place that is given back when it is dropped.
    struct Place(Arc<Queue>);

    impl Drop for Place {
        fn drop(&mut self) {
            self.0.lock().give(1);
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
    async fn calls_wait_in_order_and_one_too_many_is_refused() {
        let queue = Arc::new(Queue::new((), 1, 2));
        let (first, second, third) = (Call::new(), Call::new(), Call::new());
        let held = enter(&queue, first.handle()).await.unwrap();
        let waits = [wait(&queue, &second), wait(&queue, &third)];
        until_waiting(&queue, 2).await;
        assert_eq!([&first, &second, &third].map(|call| queue.position(call.id())), [None, Some(1), Some(2)]);

        let error = enter(&queue, Call::new().handle()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
        assert!(error.message().contains("2 calls are waiting") && error.message().contains("limits.queue"), "{error}");

        second.handle().cancel();
        let [second, third_waits] = waits;
        assert_eq!(second.await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
        assert_eq!(queue.position(third.id()), Some(1), "it has moved up");
        drop(held);
        drop(third_waits.await.unwrap().unwrap());
        assert_eq!(queue.waiting(), 0);
    }

    #[tokio::test]
    async fn a_call_with_a_listener_reports_its_position() {
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
    async fn a_waiter_for_all_places_waits_for_all_and_others_wait_behind_it() {
        let queue = Arc::new(Queue::new((), 2, 9));
        let held =
            [enter(&queue, Call::new().handle()).await.unwrap(), enter(&queue, Call::new().handle()).await.unwrap()];
        let all = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.wait_for(2).await })
        };
        while queue.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let call = Call::new();
        let behind = wait(&queue, &call);
        until_waiting(&queue, 1).await;
        assert_eq!(queue.position(call.id()), Some(1), "only calls count");
        let [first, second] = held;
        drop(first);
        assert_eq!(queue.lock().free, 1, "neither has enough or its turn");
        drop(second);
        all.await.unwrap().unwrap();
        assert!(!behind.is_finished());
        queue.lock().give(2);
        drop(behind.await.unwrap().unwrap());
        assert_eq!(queue.lock().free, 2);
    }

    #[tokio::test]
    async fn a_place_given_to_a_waiter_that_left_is_passed_on() {
        let queue = Arc::new(Queue::new((), 1, 9));
        let held = enter(&queue, Call::new().handle()).await.unwrap();
        let unheard = queue.join(Some(CallId::next()), 1).unwrap();
        let call = Call::new();
        let behind = wait(&queue, &call);
        until_waiting(&queue, 2).await;
        drop(held);
        assert_eq!(queue.waiting(), 1, "the first has it");
        drop(unheard);
        drop(behind.await.unwrap().unwrap());
        assert_eq!(queue.lock().free, 1);
    }

    #[tokio::test]
    async fn a_closed_queue_refuses_waiting_and_new_calls() {
        let queue = Arc::new(Queue::new((), 1, 9));
        let held = enter(&queue, Call::new().handle()).await.unwrap();
        let waits = wait(&queue, &Call::new());
        until_waiting(&queue, 1).await;
        queue.lock().close();
        assert_eq!(waits.await.unwrap().unwrap_err().code(), ErrorCode::Unavailable);
        drop(held);
        assert_eq!(enter(&queue, Call::new().handle()).await.unwrap_err().code(), ErrorCode::Unavailable);
        assert_eq!(queue.waiting(), 0);
    }
}
