//! One call to a worker: its arguments on their way out ([`payload`]), the request that runs ([`flight`]), its reply
//! ([`answer`]) or the stream of its results ([`stream`]), and how long that may take ([`time`]).

pub(crate) mod answer;
pub(crate) mod flight;
pub(crate) mod payload;
pub(crate) mod stream;
pub(crate) mod time;
