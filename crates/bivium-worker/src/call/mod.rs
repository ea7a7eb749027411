//! One call to a worker: its arguments and results ([`payload`]), the running request ([`in_flight`]), the stream of its
//! results ([`stream`]), how long it may take ([`time`]), and what it has in common with the worker's other calls ([`shared`]).

pub(crate) mod in_flight;
pub(crate) mod payload;
pub(crate) mod shared;
pub(crate) mod stream;
pub(crate) mod time;
