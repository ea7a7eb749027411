//! [`Queue`]: the calls that wait for a place, in order, no more than a limit of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::manifest::Limits;
use bivium_interface::{CallHandle, CallId, HostPolicy, PluginError, Progress, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Hands out places to calls, first come, first served. A call waits under its deadline and its cancellation, and
/// one that would be a waiter too many is refused.
pub struct Queue {
    places: Arc<Semaphore>,
    limit: u32,
    waiting: Mutex<Line>,
    /// Told whenever the line moves.
    moved: watch::Sender<()>,
}

#[derive(Default)]
struct Line {
    next: u64,
    calls: BTreeMap<u64, CallId>,
}

impl Queue {
    /// How many calls may wait for a plugin with these limits.
    #[must_use]
    pub fn limit(limits: &Limits) -> u32 {
        let limit = limits.queue.or(HostPolicy::DEFAULTS.queue);
        limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(u32::MAX)
    }

    /// A queue for so many places, in which at most `limit` calls wait.
    #[must_use]
    pub fn new(places: usize, limit: u32) -> Self {
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Self { places, limit, waiting: Mutex::default(), moved: watch::Sender::new(()) }
    }

    /// Waits for a place, which is given back when the permit is dropped. A call whose progress somebody watches is
    /// told how many are before it.
    ///
    /// # Errors
    /// `resource-exhausted` if too many wait already; `cancelled`; `timeout`; `unavailable` once it is closed.
    pub async fn enter(&self, call: &CallHandle) -> Result<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        // Seldom and large: in a box, so that what each call moves about stays small.
        Box::pin(self.wait(call)).await
    }

    async fn wait(&self, call: &CallHandle) -> Result<OwnedSemaphorePermit> {
        let waiter = self.line_up(call)?;
        let mut listened = false;
        let place = {
            let place = call.guard(self.place());
            let tell = async {
                let mut moved = self.moved.subscribe();
                while call.has_listener() {
                    listened = true;
                    call.report(Progress::new(None, waiter.describe()));
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

    /// A place without a call, behind all that wait and whatever their number.
    ///
    /// # Errors
    /// `unavailable` once the queue is closed.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| closed())
    }

    /// So many places at once: all of them, to wait until no call runs.
    pub(crate) async fn places(&self, count: u32) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_many_owned(count).await.map_err(|_| closed())
    }

    /// Refuses all that wait and all that come.
    pub(crate) fn close(&self) {
        self.places.close();
    }

    /// How many calls wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.line().calls.len() as u64
    }

    /// Where a call stands that waits: 1 is the next to get a place.
    #[must_use]
    pub fn position(&self, call: CallId) -> Option<usize> {
        self.line().calls.values().position(|waiting| *waiting == call).map(|before| before + 1)
    }

    fn line_up(&self, call: &CallHandle) -> Result<Waiter<'_>> {
        let mut line = self.line();
        if line.calls.len() >= self.limit as usize {
            let message = format!("{} calls wait already, and `limits.queue` allows no more", line.calls.len());
            return Err(PluginError::resource_exhausted(message)
                .with_help("try again later, or raise `limits.queue` in the plugin's manifest"));
        }
        let ticket = line.next;
        line.next += 1;
        line.calls.insert(ticket, call.id());
        Ok(Waiter { queue: self, ticket })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> PluginError {
    PluginError::unavailable("the plugin is unloaded").with_help("load it again")
}

/// A call's place in the line while it lives.
struct Waiter<'a> {
    queue: &'a Queue,
    ticket: u64,
}

impl Waiter<'_> {
    fn describe(&self) -> String {
        match self.queue.line().calls.range(..self.ticket).count() {
            0 => "waiting: it is the next".to_owned(),
            1 => "waiting: 1 call is before it".to_owned(),
            before => format!("waiting: {before} calls are before it"),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.queue.line().calls.remove(&self.ticket);
        self.queue.moved.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bivium_interface::{Call, ErrorCode};

    use super::*;

    fn wait(queue: &Arc<Queue>, call: &Call) -> tokio::task::JoinHandle<Result<OwnedSemaphorePermit>> {
        let (queue, handle) = (Arc::clone(queue), call.handle().clone());
        tokio::spawn(async move { queue.enter(&handle).await })
    }

    async fn until_waiting(queue: &Queue, count: u64) {
        while queue.waiting() != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn calls_stand_in_line_and_one_too_many_is_refused() {
        let queue = Arc::new(Queue::new(1, 2));
        let (first, second, third) = (Call::new(), Call::new(), Call::new());
        let held = queue.enter(first.handle()).await.unwrap();
        let waits = [wait(&queue, &second), wait(&queue, &third)];
        until_waiting(&queue, 2).await;
        assert_eq!([&first, &second, &third].map(|call| queue.position(call.id())), [None, Some(1), Some(2)]);

        let error = queue.enter(Call::new().handle()).await.unwrap_err();
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
        let queue = Arc::new(Queue::new(1, 9));
        let held = queue.enter(Call::new().handle()).await.unwrap();
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
}
