//! What the fuzz targets in `fuzz/` and the tests reach into. No part of the interface: it may change at any time.

pub use crate::typed::fuzzing::{Laid, Written, read, schema, write};
pub use crate::typed::{Int, Part, Shape};
