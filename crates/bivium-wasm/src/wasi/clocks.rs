//! The time. Without `permissions.clocks` both clocks begin at fixed instants, and only what the guest sleeps moves them:
//! every run sees the same times. Sleep itself takes as long as it says, and is under the call's deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::state::HostState;

/// When the wall clock that is no clock begins: 2000-01-01, after everything that calls itself too old for certificates
/// and archives.
const BEGIN: Duration = Duration::from_secs(946_684_800);

/// A clock that stands still but for what its guest sleeps: nanoseconds since the instance was made.
#[derive(Default, Clone)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    monotonic_clock::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl wall_clock::Host for HostState {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        if self.rights.clocks {
            return wall_clock::Host::now(&mut self.clocks());
        }
        Ok(datetime(BEGIN + Duration::from_nanos(self.clock.now())))
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        if self.rights.clocks {
            return wall_clock::Host::resolution(&mut self.clocks());
        }
        Ok(datetime(Duration::from_nanos(1)))
    }
}

fn datetime(since: Duration) -> wall_clock::Datetime {
    wall_clock::Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
}

impl monotonic_clock::Host for HostState {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        if self.rights.clocks {
            return monotonic_clock::Host::now(&mut self.clocks());
        }
        Ok(self.clock.now())
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        if self.rights.clocks {
            return monotonic_clock::Host::resolution(&mut self.clocks());
        }
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: monotonic_clock::Instant) -> wasmtime::Result<Resource<DynPollable>> {
        if self.rights.clocks {
            return self.clocks().subscribe_instant(when);
        }
        let sleep = self.store.table.push(Sleep { clock: self.clock.clone(), until: when, yielded: false })?;
        subscribe(&mut self.store.table, sleep)
    }

    fn subscribe_duration(&mut self, length: monotonic_clock::Duration) -> wasmtime::Result<Resource<DynPollable>> {
        if self.rights.clocks {
            return self.clocks().subscribe_duration(length);
        }
        let until = self.clock.now().saturating_add(length);
        monotonic_clock::Host::subscribe_instant(self, until)
    }
}

/// A sleep that moves the guest's clock to its end.
struct Sleep {
    clock: Clock,
    until: u64,
    yielded: bool,
}

#[async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        let left = self.until.saturating_sub(self.clock.now());
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
