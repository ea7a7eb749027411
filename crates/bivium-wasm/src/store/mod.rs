//! What holds for every store: its limits, its deadline, its log, and the record of what its guest was allowed and refused.

mod bounds;
pub(crate) mod limits;
mod log;
mod quota;
mod state;
mod ticker;
mod witness;
mod words;

pub(crate) use bounds::{Bounds, Reach};
pub(crate) use limits::{Limiter, MemoryGauge, StoreLimits};
pub(crate) use log::{GuestLog, Printed};
pub(crate) use quota::Written;
pub(crate) use state::StoreState;
pub(crate) use ticker::{TICKS_TO_YIELD, Ticker};
pub(crate) use witness::{Use, Witness};
