//! The time. Without `permissions.clocks` both clocks begin at fixed instants, and only what the guest sleeps moves them:
//! every run sees the same times. Sleep itself takes as long as it says, and is under the call's deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::clocks::{WasiClocksCtx, WasiClocksCtxView};
use wasmtime_wasi::p2::Pollable;

/// When the wall clock that is no clock begins: 2000-01-01, after everything that calls itself too old for certificates
/// and archives.
const BEGIN: Duration = Duration::from_secs(946_684_800);

/// The clocks of one instance.
pub(crate) enum Clocks {
    /// The machine's.
    Real(RealClocks),
    Fixed(FixedClock),
}

impl Clocks {
    pub(crate) fn new(granted: bool) -> Self {
        if granted { Self::Real(RealClocks(None)) } else { Self::Fixed(FixedClock::default()) }
    }
}

/// The machine's clocks, begun at their first use.
pub(crate) struct RealClocks(Option<Box<WasiClocksCtx>>);

impl RealClocks {
    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiClocksCtxView<'a> {
        WasiClocksCtxView { ctx: self.0.get_or_insert_default(), table }
    }
}

/// A clock that stands still but for what its guest sleeps: nanoseconds since the instance was made.
#[derive(Default, Clone)]
pub(crate) struct FixedClock(Arc<AtomicU64>);

impl FixedClock {
    pub(crate) fn monotonic(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn wall(&self) -> Duration {
        BEGIN + Duration::from_nanos(self.monotonic())
    }

    pub(crate) fn sleep_until(&self, until: u64) -> Sleep {
        Sleep { clock: self.clone(), until, yielded: false }
    }
}

/// A sleep that moves the guest's clock to its end.
pub(crate) struct Sleep {
    clock: FixedClock,
    until: u64,
    yielded: bool,
}

#[async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        let left = self.until.saturating_sub(self.clock.monotonic());
        if left > 0 {
            // A sleep that is given up for another event begins anew when it is polled again: meanwhile the guest's
            // clock stood still.
            tokio::time::sleep(Duration::from_nanos(left)).await;
            self.clock.0.fetch_max(self.until, Ordering::Relaxed);
        } else if !self.yielded {
            // A guest that polls in a loop leaves the thread to others.
            self.yielded = true;
            tokio::task::yield_now().await;
        }
    }
}
