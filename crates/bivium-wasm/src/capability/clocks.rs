//! The clocks. Without `permissions.clocks` both clocks begin at fixed instants, and only the guest's own sleep moves them, so every
//! run sees the same times. A sleep takes its real time, and the call's deadline limits it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::clocks::{WasiClocksCtx, WasiClocksCtxView};
use wasmtime_wasi::p2::Pollable;

/// The start of the fixed wall clock: 2000-01-01, which is late enough for certificates and archives.
const BEGIN: Duration = Duration::from_secs(946_684_800);

/// The clocks of one instance.
pub(crate) enum Clocks {
    /// The machine's clocks.
    Real(RealClocks),
    Fixed(FixedClock),
}

impl Clocks {
    pub(crate) fn new(granted: bool) -> Self {
        if granted { Self::Real(RealClocks(None)) } else { Self::Fixed(FixedClock::default()) }
    }
}

/// The machine's clocks, made at the first use.
pub(crate) struct RealClocks(Option<Box<WasiClocksCtx>>);

impl RealClocks {
    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiClocksCtxView<'a> {
        WasiClocksCtxView { ctx: self.0.get_or_insert_default(), table }
    }
}

/// A clock that only the guest's sleep moves: nanoseconds since the instance was made.
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
            // A sleep that was dropped for another event begins again when it is polled again: meanwhile the guest's clock did not
            // move.
            tokio::time::sleep(Duration::from_nanos(left)).await;
            self.clock.0.fetch_max(self.until, Ordering::Relaxed);
        } else if !self.yielded {
            // Lets other tasks run if the guest polls in a loop.
            self.yielded = true;
            tokio::task::yield_now().await;
        }
    }
}
