//! Converts values without a guest: JSON to a memory like a guest's, and any memory to JSON.

use std::borrow::Cow;

use bivium_instances::document::{DocumentLimits, Pace};
use bivium_interface::{Payload, Result};
use serde_json::Value;
use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;

use super::image::{Data, Image};
use super::memory::GuestMemory;
use super::read::{MemoryPlace, Reader};
use super::schema;
use super::shape::Part;
use super::write::{Unwritten, Writer};

/// A value laid out for a component's memory.
pub struct LaidOut {
    image: Image,
    /// The bytes of the host's memory that were counted for it.
    pub counted: usize,
}

/// The JSON that was written for a value.
#[derive(Debug)]
pub struct WrittenJson {
    /// The JSON.
    pub json: Value,
    /// The bytes of the host's memory that were counted for it.
    pub counted: usize,
}

/// Lays out the value of `json`, which may take up to `limit` bytes.
///
/// # Errors
/// `invalid-input`, with the place; `resource-exhausted`.
pub fn read(part: &Part, json: Value, limit: usize) -> Result<LaidOut> {
    let params = [("value".to_owned(), part.clone())];
    let mut reader = Reader::new(&params, Payload::default(), limit, Pace::endless())?;
    let [(name, part)] = &params;
    reader.argument(Cow::Borrowed(name), part, json, MemoryPlace::argument(0))?;
    let counted = reader.taken();
    Ok(LaidOut { image: reader.finish(), counted })
}

impl LaidOut {
    /// A memory with the value in it and its address, as the engine does it in a guest.
    ///
    /// # Panics
    /// If a block's pointer is invalid.
    #[must_use]
    #[expect(clippy::expect_used, clippy::indexing_slicing, reason = "only tests come here")]
    pub fn memory(self) -> (Vec<u8>, usize) {
        // Nothing has address zero.
        let mut memory = vec![0; 16];
        let mut places: Vec<usize> = Vec::new();
        for block in self.image.blocks {
            memory.resize(memory.len().next_multiple_of(block.align as usize), 0);
            let place = memory.len();
            match block.data {
                Data::Text(text) => memory.extend(text.into_bytes()),
                Data::Bytes(bytes) => memory.extend(bytes),
            }
            if let Some(parent) = places.get(block.parent as usize) {
                let at = parent + block.at as usize;
                let start = u32::try_from(place).expect("a small memory");
                memory[at..at + 4].copy_from_slice(&start.to_le_bytes());
                memory[at + 4..at + 8].copy_from_slice(&block.count.to_le_bytes());
            }
            places.push(place);
        }
        (memory, places[0])
    }
}

/// The JSON of the value at `at` in a memory; `None` if the bytes are not a value of this type, or if it takes more than `limit` bytes
/// as text or in the host.
#[must_use]
pub fn write(part: &Part, memory: &[u8], at: usize, limit: usize) -> Option<WrittenJson> {
    let memory = GuestMemory::new(memory, StringEncoding::Utf8);
    let mut writer = Writer::new(memory, DocumentLimits { text: limit, held: limit }, Pace::endless()).inline(limit);
    match writer.write(part, at) {
        Ok(json) => Some(WrittenJson { json, counted: writer.taken() }),
        Err(Unwritten::TooLong | Unwritten::TooLarge | Unwritten::Over(_) | Unwritten::Broken(_)) => None,
    }
}

/// The schema of results of this type.
#[must_use]
pub fn schema(part: &Part) -> Value {
    schema::of_result(Some(part))
}
