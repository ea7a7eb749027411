//! Which of several equals a thread used last.

use std::sync::atomic::{AtomicUsize, Ordering};

/// For each thread the index that it used last. Threads beyond [`Recent::THREADS`] share one with others: it is a hint.
pub(crate) struct Recent([usize; Recent::THREADS]);

impl Default for Recent {
    fn default() -> Self {
        Self([0; Self::THREADS])
    }
}

impl Recent {
    const THREADS: usize = 64;

    /// That of the thread that asks.
    pub(crate) fn of_this_thread(&mut self) -> Option<&mut usize> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % Recent::THREADS;
        }
        self.0.get_mut(THREAD.with(|thread| *thread))
    }
}
