//! The floors: the least that the same work can cost, without a host.

pub mod component;
pub mod component_files;
pub mod component_typed;
pub mod raw;
pub mod worker;
