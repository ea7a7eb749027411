//! What holds for every store: its limits, its deadline, its log, and the record of what its guest was allowed and refused.

mod bounds;
mod limiter;
pub(crate) mod limits;
mod log;
mod quota;
mod reach;
mod state;
mod ticker;
mod witness;
mod words;
mod work;

pub(crate) use bounds::Bounds;
pub(crate) use limiter::{Limiter, MemoryGauge};
pub(crate) use limits::StoreLimits;
pub(crate) use log::{GuestLog, Printed};
pub(crate) use quota::Written;
pub(crate) use reach::Reach;
pub(crate) use state::StoreState;
pub(crate) use ticker::{TICKS_TO_YIELD, Ticker};
pub(crate) use witness::{Use, Witness};
