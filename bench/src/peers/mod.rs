//! What users would pick instead, set up as its own documentation says.

pub mod driver;
pub mod extism;
