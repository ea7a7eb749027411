//! [`CallId`].

use std::cell::Cell;
use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Serialize, Serializer};

/// The id of a call. Unique in this host, and almost certainly among all hosts of a machine. Written as 16 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u64);

impl CallId {
    /// A new id.
    #[must_use]
    pub fn next() -> Self {
        /// A thread takes this many ids at once, so that threads do not contend for one counter.
        const BLOCK: u64 = 1 << 10;
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
            // Starts from the time in nanoseconds, multiplied as in a hash, so that two hosts do not use the same ids in shared logs.
            let nanos = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
            let seed = u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or_default();
            let seed = (seed ^ u64::from(std::process::id())).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            AtomicU64::new(seed & !(BLOCK - 1))
        });
        thread_local! {
            static LAST: Cell<u64> = const { Cell::new(BLOCK - 1) };
        }
        LAST.with(|last| {
            let mut id = last.get().wrapping_add(1);
            if id.is_multiple_of(BLOCK) {
                id = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
            }
            last.set(id);
            Self(id)
        })
    }

    /// The id that is written so, if it is one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| digits).map(Self)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn ids_differ_and_survive_text() {
        let (a, b) = (CallId::next(), CallId::next());
        assert_ne!(a, b);
        assert_eq!(a.to_string().parse::<CallId>().unwrap(), a);
        for wrong in ["", "1", "+000000000000001", "00000000000000000", "zzzzzzzzzzzzzzzz"] {
            assert_eq!(wrong.parse::<CallId>().unwrap_err().code(), ErrorCode::InvalidInput, "{wrong}");
        }
    }

    #[test]
    fn ids_of_several_threads_differ() {
        // More ids than a thread takes at once.
        let ids = || (0..3000).map(|_| CallId::next()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(ids)).collect();
        let all: std::collections::HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 4 * 3000);
    }
}
