//! What JSON values take up in the host's memory: counted before they are made.
//!
//! Everything is counted as the allocator rounds it, so that the count is never below what is really taken.

use serde_json::Value;

/// One value, in the place where it lies.
pub const VALUE: usize = size_of::<Value>();
/// A key, its value and its hash, as an object keeps them.
const ENTRY: usize = size_of::<String>() + size_of::<Value>() + size_of::<usize>();

/// One allocation of this many bytes: allocators have a word of their own for each, a smallest piece and whole pages
/// for large ones.
#[must_use]
pub const fn heap(bytes: usize) -> usize {
    const LEAST: usize = 32;
    const LARGE: usize = 128 << 10;
    const PAGE: usize = 4096;
    match bytes {
        0 => 0,
        1..LEAST => LEAST + 16,
        LEAST..LARGE => bytes.saturating_add(31) & !15,
        _ => bytes.saturating_add(2 * PAGE),
    }
}

/// An array of this many values, what they own not counted.
#[must_use]
pub const fn array(items: usize) -> usize {
    heap(items.saturating_mul(VALUE))
}

/// An object with room for this many keys, what keys and values own not counted.
#[must_use]
pub const fn object(keys: usize) -> usize {
    if keys == 0 {
        return 0;
    }
    // A table of indices, at most seven eighths full, with a byte of its own for each place.
    let places = match keys.saturating_mul(8).div_ceil(7).checked_next_power_of_two() {
        Some(places) if places > 4 => places,
        _ => 4,
    };
    let table = places.saturating_mul(size_of::<usize>() + 1).saturating_add(32);
    heap(keys.saturating_mul(ENTRY)).saturating_add(heap(table))
}

/// How many bytes may still be taken.
#[derive(Debug)]
pub struct Budget {
    left: usize,
    limit: usize,
}

/// There is not so much left of a [`Budget`].
#[derive(Debug)]
pub struct Spent;

impl Budget {
    /// So many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    /// What may be taken in all.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What may still be taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }

    /// What has been taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.limit - self.left
    }

    /// Takes some of it.
    ///
    /// # Errors
    /// [`Spent`] if there is not so much left.
    pub fn take(&mut self, bytes: usize) -> Result<(), Spent> {
        self.left = self.left.checked_sub(bytes).ok_or(Spent)?;
        Ok(())
    }
}
