//! JSON documents that cross between the host and plugins of either runtime: how large they may be, and for how long the host
//! may work on them.
//!
//! Plugins are not trusted. A JSON text takes many times its length in the host's memory (72 bytes for each `1,`), so the
//! memory of its values is counted before they are made ([`cost`]). This work never waits, so nothing else can interrupt it:
//! it checks the clock and the cancel itself ([`Pace`]). Long work runs on a blocking thread ([`aside`]), so that other calls
//! go on meanwhile.

pub mod cost;
mod pace;
mod read;
mod write;

use bivium_interface::manifest::Limits;
use bivium_interface::{HostPolicy, PluginError, Result};
use tokio::runtime::{Handle, RuntimeFlavor, worker_index};
use tokio::task::block_in_place;

pub use pace::Pace;
pub use read::{Document, SHORT, Unread, counted, list, read};
pub use write::{Bounded, Unwritten, are_many, measure, write};

/// How large one JSON document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentLimits {
    /// The longest text, in bytes.
    pub text: usize,
    /// How many bytes its values may take in the host's memory. Together with the text that is at most twice what memory and
    /// payloads may take.
    pub held: usize,
}

impl DocumentLimits {
    /// The limits that a policy granted, and the defaults for those that it leaves open. The same for both runtimes.
    #[must_use]
    pub fn of(granted: &Limits) -> Self {
        let limits = granted.clone().or(&HostPolicy::DEFAULTS);
        let bytes =
            |mib: Option<u64>| usize::try_from(mib.unwrap_or_default().saturating_mul(1 << 20)).unwrap_or(usize::MAX);
        let text = bytes(limits.payload_mb);
        Self { text, held: bytes(limits.memory_mb).saturating_add(text) }
    }

    /// The error for a text that is too long; `found` is its length. `what` is the beginning of the message up to its verb, for
    /// example "the result is".
    #[must_use]
    pub fn too_long(&self, what: &str, found: &str) -> PluginError {
        let message = format!("{what} {found} of JSON, over the limit of {} MiB", self.text >> 20);
        PluginError::resource_exhausted(message)
            .with_help("pass large data as a blob, or raise `limits.payload_mb` in the plugin's manifest")
    }

    /// The error for values that would take too much of the host's memory. `what` is as for [`too_long`](Self::too_long).
    #[must_use]
    pub fn too_large(&self, what: &str) -> PluginError {
        PluginError::resource_exhausted(format!(
            "{what} more than {} MiB in the host's memory, over what `limits.memory_mb` and `limits.payload_mb` allow \
             together",
            self.held >> 20
        ))
        .with_help("pass large data as a blob or in pieces, or raise `limits.payload_mb` in the plugin's manifest")
    }

    /// Refuses a text that is too long. `what` is as for [`too_long`](Self::too_long).
    ///
    /// # Errors
    /// `resource-exhausted`.
    pub fn check(&self, what: &str, len: usize) -> Result<()> {
        if len <= self.text { Ok(()) } else { Err(self.too_long(what, &format!("{} MiB", len.div_ceil(1 << 20)))) }
    }

    /// The error for a document that was not written. `what` is as for [`too_long`](Self::too_long).
    #[must_use]
    pub fn unwritten(&self, what: &str, why: Unwritten) -> PluginError {
        match why {
            Unwritten::Invalid(error) => PluginError::invalid_input(format!("{what} not writable as JSON: {error}")),
            Unwritten::TooLong => self.too_long(what, &format!("more than {} MiB", self.text >> 20)),
            Unwritten::Over(error) => error,
        }
    }
}

/// Runs work in place, or on a blocking thread if it takes long. If nobody waits for it any more it goes on there until it
/// checks its [`Pace`].
///
/// # Errors
/// `internal` if that thread panics, or the runtime ends.
pub async fn aside<T: Send + 'static>(takes_long: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if takes_long { blocking(work).await } else { Ok(work()) }
}

/// Runs long work that cannot move to another thread. If the runtime has several threads, another one takes over this one's
/// tasks meanwhile.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    let has_others = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    // Only a worker thread of the runtime can hand its tasks over; on some other threads tokio panics.
    if has_others && worker_index().is_some() { block_in_place(work) } else { work() }
}

/// Runs work on a blocking thread.
///
/// # Errors
/// As for [`aside`].
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| PluginError::internal(format!("work on a blocking thread did not finish: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::task::LocalSet;

    use super::*;

    /// Whether another task of the runtime runs while this one works in place.
    async fn others_run() -> bool {
        let (ran, runs) = channel();
        // In the queue of this very thread.
        let other = tokio::spawn(async move { ran.send(()) });
        let seen = in_place(|| runs.recv_timeout(Duration::from_secs(60)));
        other.await.unwrap().is_ok() && seen.is_ok()
    }

    #[test]
    fn other_tasks_go_on_while_one_works_in_place() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert!(runtime.block_on(async { tokio::spawn(others_run()).await.unwrap() }));
        // If no other thread can take over, the work is done all the same.
        runtime.block_on(async { in_place(|| ()) });
        LocalSet::new().block_on(&runtime, async { in_place(|| ()) });
        Builder::new_current_thread().build().unwrap().block_on(async { in_place(|| ()) });
        in_place(|| ());
    }
}
