//! The peers: what users would choose instead, set up as their own documentation says.

pub mod driver;
pub mod extism;
