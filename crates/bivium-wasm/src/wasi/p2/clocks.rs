//! `wasi:clocks`.

use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, subscribe};

use crate::capability::clocks::Clocks;
use crate::state::HostState;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    monotonic_clock::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl wall_clock::Host for HostState {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        match &mut self.clocks {
            Clocks::Real(clocks) => wall_clock::Host::now(&mut clocks.view(&mut self.store.table)),
            Clocks::Fixed(clock) => Ok(datetime(clock.wall())),
        }
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        match &mut self.clocks {
            Clocks::Real(clocks) => wall_clock::Host::resolution(&mut clocks.view(&mut self.store.table)),
            Clocks::Fixed(_) => Ok(datetime(Duration::from_nanos(1))),
        }
    }
}

fn datetime(since: Duration) -> wall_clock::Datetime {
    wall_clock::Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
}

impl monotonic_clock::Host for HostState {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        match &mut self.clocks {
            Clocks::Real(clocks) => monotonic_clock::Host::now(&mut clocks.view(&mut self.store.table)),
            Clocks::Fixed(clock) => Ok(clock.monotonic()),
        }
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        match &mut self.clocks {
            Clocks::Real(clocks) => monotonic_clock::Host::resolution(&mut clocks.view(&mut self.store.table)),
            Clocks::Fixed(_) => Ok(1),
        }
    }

    fn subscribe_instant(&mut self, when: monotonic_clock::Instant) -> wasmtime::Result<Resource<DynPollable>> {
        match &mut self.clocks {
            Clocks::Real(clocks) => clocks.view(&mut self.store.table).subscribe_instant(when),
            Clocks::Fixed(clock) => {
                let sleep = self.store.table.push(clock.sleep_until(when))?;
                subscribe(&mut self.store.table, sleep)
            }
        }
    }

    fn subscribe_duration(&mut self, length: monotonic_clock::Duration) -> wasmtime::Result<Resource<DynPollable>> {
        match &mut self.clocks {
            Clocks::Real(clocks) => clocks.view(&mut self.store.table).subscribe_duration(length),
            Clocks::Fixed(clock) => {
                let until = clock.monotonic().saturating_add(length);
                monotonic_clock::Host::subscribe_instant(self, until)
            }
        }
    }
}
