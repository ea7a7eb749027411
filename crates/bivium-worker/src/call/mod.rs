//! One call to a worker: its arguments and results ([`payload`]), the running request ([`in_flight`]), its reply
//! ([`answer`]) or the stream of its results ([`stream`]), and how long it may take ([`time`]).

pub(crate) mod answer;
pub(crate) mod in_flight;
pub(crate) mod payload;
pub(crate) mod stream;
pub(crate) mod time;
