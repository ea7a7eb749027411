//! What the fuzz targets in `fuzz/` and the tests reach into. No part of the interface: it may change at any time.

use bivium_interface::{Payload, Result};
use serde_json::Value;
use wasmtime::component::Val;

use crate::typed::{Reader, Writer};

pub use crate::typed::{Int, Shape};

/// The component value that `json` stands for, which may take up `limit` bytes.
///
/// # Errors
/// `invalid-input`, naming the place; `resource-exhausted`.
pub fn read(shape: &Shape, json: Value, limit: usize) -> Result<Val> {
    Reader::new(Payload::default(), limit).argument("value".to_owned(), shape, json)
}

/// The JSON that stands for a component value; none if it is not of this type or would be longer than `limit`.
#[must_use]
pub fn write(shape: &Shape, val: Val, limit: usize) -> Option<Value> {
    Writer::without_blobs(limit).write(shape, val).ok()
}
