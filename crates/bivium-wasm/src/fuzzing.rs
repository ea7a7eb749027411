//! For the fuzz targets in `fuzz/` and the tests. Not a part of the public interface: it may change at any time.

pub use crate::typed::fuzzing::{LaidOut, WrittenJson, read, schema, write};
pub use crate::typed::{Int, Part, Shape};
