//! How much of the host's memory JSON values take. It is counted before they are made.
//!
//! Sizes are rounded up as the allocator does it, so that the count is never too low.

use serde_json::Value;

/// One value, without what it owns on the heap.
pub const VALUE: usize = size_of::<Value>();
/// A key, its value and its hash, as an object keeps them.
const ENTRY: usize = size_of::<String>() + size_of::<Value>() + size_of::<usize>();

/// One allocation of this many bytes. Allocators add a word to each, have a smallest size, and use whole pages for large
/// ones.
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

/// An array of this many values, without what they own.
#[must_use]
pub const fn array(items: usize) -> usize {
    heap(items.saturating_mul(VALUE))
}

/// An object with space for this many keys, without what keys and values own.
#[must_use]
pub const fn object(keys: usize) -> usize {
    if keys == 0 {
        return 0;
    }
    // A hash table of indices, at most seven eighths full, with one more byte for each entry.
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

/// A [`Budget`] has fewer bytes left than were wanted.
#[derive(Debug)]
pub struct OverBudget;

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    /// How many bytes may be taken in all.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes may still be taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }

    /// How many bytes have been taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.limit - self.left
    }

    /// Takes this many bytes.
    ///
    /// # Errors
    /// [`OverBudget`] if fewer are left.
    pub fn take(&mut self, bytes: usize) -> Result<(), OverBudget> {
        self.left = self.left.checked_sub(bytes).ok_or(OverBudget)?;
        Ok(())
    }
}
