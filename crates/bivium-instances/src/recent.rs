//! [`Recent`]: which slot a thread used last.

use std::sync::atomic::{AtomicUsize, Ordering};

/// For each thread the index that it used last. It is a hint: threads beyond [`Recent::THREADS`] share an entry.
pub(crate) struct Recent([usize; Recent::THREADS]);

impl Default for Recent {
    fn default() -> Self {
        Self([0; Self::THREADS])
    }
}

impl Recent {
    const THREADS: usize = 64;

    /// The entry of the current thread.
    pub(crate) fn of_this_thread(&mut self) -> Option<&mut usize> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % Recent::THREADS;
        }
        self.0.get_mut(THREAD.with(|thread| *thread))
    }
}
