//! What an exchange holds now, and its quota. A [`Charge`] is what one file or area counts for: it grows while the file
//! is written, and dropping it gives the bytes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bivium_interface::{PluginError, Result};

/// What an [`Exchange`](crate::Exchange) holds now. All zero once every handle is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// The exchange's own blobs, with those that are being written. A caller's file passed by reference does not count.
    pub blobs: u64,
    /// Bytes in these blobs. What a plugin wrote in its area counts once it is handed back.
    pub bytes: u64,
    /// Areas lent to plugin instances.
    pub areas: u64,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    max_bytes: u64,
    blobs: AtomicU64,
    bytes: AtomicU64,
    areas: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, blobs: AtomicU64::new(0), bytes: AtomicU64::new(0), areas: AtomicU64::new(0) })
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            blobs: self.blobs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            areas: self.areas.load(Ordering::Relaxed),
        }
    }

    fn count(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Blob => &self.blobs,
            Kind::Area => &self.areas,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Blob,
    Area,
}

#[derive(Debug)]
pub(crate) struct Charge {
    ledger: Arc<Ledger>,
    kind: Kind,
    bytes: u64,
}

impl Charge {
    pub(crate) fn new(ledger: &Arc<Ledger>, kind: Kind) -> Self {
        ledger.count(kind).fetch_add(1, Ordering::Relaxed);
        Self { ledger: Arc::clone(ledger), kind, bytes: 0 }
    }

    /// Adds `bytes` to the charge, or refuses them all.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<()> {
        let max = self.ledger.max_bytes;
        let booked = self.ledger.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(bytes).filter(|total| *total <= max)
        });
        match booked {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(held) => Err(PluginError::resource_exhausted(format!(
                "the exchange holds {held} of at most {max} bytes, so {bytes} more do not fit"
            ))
            .with_help("drop blobs that are no longer needed, or raise the exchange's `max_bytes`")),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.ledger.count(self.kind).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::ErrorCode;

    #[test]
    fn refused_bytes_are_not_counted_and_a_dropped_charge_is_given_back() {
        let ledger = Ledger::new(10);
        let mut one = Charge::new(&ledger, Kind::Blob);
        let mut two = Charge::new(&ledger, Kind::Blob);
        one.grow(6).unwrap();
        assert_eq!(two.grow(5).unwrap_err().code(), ErrorCode::ResourceExhausted);
        assert_eq!(two.grow(u64::MAX).unwrap_err().code(), ErrorCode::ResourceExhausted);
        two.grow(4).unwrap();
        assert_eq!(ledger.usage(), Usage { blobs: 2, bytes: 10, areas: 0 });
        drop(one);
        two.grow(6).unwrap();
        drop(two);
        assert_eq!(ledger.usage(), Usage::default());
    }
}
