//! JSON documents on their way between the host and plugins, whatever runs these: how much of them there may be, and for
//! how long they may be worked on.
//!
//! Plugins are strangers'. A text of theirs becomes many times its length in the host's memory (72 bytes for each `1,`), so
//! what its values take up is counted before they are made ([`cost`]). Nothing of this work waits for anything: it looks
//! at the clock and at the cancel by itself ([`Pace`]), and what takes long is done on a thread that may block
//! ([`aside`]), so that other calls go on meanwhile.

pub mod cost;
mod pace;
mod read;
mod write;

use bivium_interface::manifest::Limits;
use bivium_interface::{HostPolicy, PluginError, Result};
use tokio::runtime::{Handle, RuntimeFlavor, worker_index};
use tokio::task::block_in_place;

pub use pace::Pace;
pub use read::{Document, Unread, counted, list, read};
pub use write::{Bounded, Unwritten, are_many, measure, write};

/// A text of as many bytes is read in place, and its values are not counted: to hand it to another thread takes longer, and
/// it becomes some 4 MiB at most.
pub const SHORT: usize = 128 << 10;

/// How much JSON may cross at once, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentLimits {
    /// The longest text, in bytes.
    pub text: usize,
    /// What the host may hold for its values, in bytes. Together with the text that is no more than twice what memory and
    /// payloads may take.
    pub held: usize,
}

impl DocumentLimits {
    /// What a policy granted; what it leaves open is the default, for components as for workers.
    #[must_use]
    pub fn of(granted: &Limits) -> Self {
        let limits = granted.clone().or(&HostPolicy::DEFAULTS);
        let bytes =
            |mib: Option<u64>| usize::try_from(mib.unwrap_or_default().saturating_mul(1 << 20)).unwrap_or(usize::MAX);
        let text = bytes(limits.payload_mb);
        Self { text, held: bytes(limits.memory_mb).saturating_add(text) }
    }

    /// The error of a text that is too long: `found` says how long. `what` completes "… 20 MiB of JSON", for example "the
    /// result is".
    #[must_use]
    pub fn too_long(&self, what: &str, found: &str) -> PluginError {
        let message = format!("{what} {found} of JSON, over the limit of {} MiB", self.text >> 20);
        PluginError::resource_exhausted(message)
            .with_help("pass large data as a blob, or raise `limits.payload_mb` in the plugin's manifest")
    }

    /// The error of values for which the host would hold too much. `what` is as for [`too_long`](Self::too_long).
    #[must_use]
    pub fn too_large(&self, what: &str) -> PluginError {
        PluginError::resource_exhausted(format!(
            "{what} more than {} MiB as the host holds it, over what `limits.memory_mb` and `limits.payload_mb` allow \
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

    /// The error of a document that was not written. `what` is as for [`too_long`](Self::too_long).
    #[must_use]
    pub fn unwritten(&self, what: &str, why: Unwritten) -> PluginError {
        match why {
            Unwritten::Invalid(error) => PluginError::invalid_input(format!("{what} not writable as JSON: {error}")),
            Unwritten::TooLong => self.too_long(what, &format!("more than {} MiB", self.text >> 20)),
            Unwritten::Over(error) => error,
        }
    }
}

/// Runs work in place, or, if it takes long, on a thread that may block. There it goes on by itself where nobody waits any
/// more, until it looks at its [`Pace`].
///
/// # Errors
/// `internal` if that thread panics, or the runtime ends.
pub async fn aside<T: Send + 'static>(takes_long: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if takes_long { blocking(work).await } else { Ok(work()) }
}

/// Runs work that takes long and cannot leave its thread. Where the runtime has several threads, another one takes over the
/// tasks of this one meanwhile.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    let has_others = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    // Only a thread of the runtime's own can hand its tasks over; tokio panics on some of the others.
    if has_others && worker_index().is_some() { block_in_place(work) } else { work() }
}

/// Runs work on a thread that may block.
///
/// # Errors
/// As for [`aside`].
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| PluginError::internal(format!("work on another thread did not end: {error}")))
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
        // In the line of this very thread.
        let other = tokio::spawn(async move { ran.send(()) });
        let seen = in_place(|| runs.recv_timeout(Duration::from_secs(60)));
        other.await.unwrap().is_ok() && seen.is_ok()
    }

    #[test]
    fn other_tasks_go_on_while_one_works_in_place() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert!(runtime.block_on(async { tokio::spawn(others_run()).await.unwrap() }));
        // Where nobody can take over, it is done all the same.
        runtime.block_on(async { in_place(|| ()) });
        LocalSet::new().block_on(&runtime, async { in_place(|| ()) });
        Builder::new_current_thread().build().unwrap().block_on(async { in_place(|| ()) });
        in_place(|| ());
    }
}
