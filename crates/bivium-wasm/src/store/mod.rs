//! The parts of every store: its limits, its deadline, its log, and the record of what its guest was granted and refused.

mod access;
mod bounds;
mod last_output;
mod limiter;
pub(crate) mod limits;
mod log;
mod signals;
mod state;
mod ticker;
mod work;
mod write_quota;

pub(crate) use access::{AccessRecorder, Use};
pub(crate) use bounds::Bounds;
pub(crate) use limiter::{Limiter, MemoryGauge};
pub(crate) use limits::StoreLimits;
pub(crate) use log::{GuestLog, StdStream};
pub(crate) use signals::Signals;
pub(crate) use state::StoreState;
pub(crate) use ticker::{TICKS_TO_YIELD, Ticker};
pub(crate) use write_quota::WriteQuota;
