//! The Python road: worker processes, each in its own environment.

mod environment;
