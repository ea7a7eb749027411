//! The offsets of values in a component's memory, by the rules of the canonical ABI.

use super::shape::Part;

/// The offsets of consecutive values, as in a record.
pub(super) struct Places(usize);

impl Places {
    pub(super) fn from(start: usize) -> Self {
        Self(start)
    }

    pub(super) fn next(&mut self, part: &Part) -> usize {
        let place = self.0.next_multiple_of(part.align() as usize);
        self.0 = place + part.size();
        place
    }
}

/// The size of the discriminant for this many cases, in bytes.
pub(super) fn discriminant(cases: usize) -> usize {
    match cases {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}
