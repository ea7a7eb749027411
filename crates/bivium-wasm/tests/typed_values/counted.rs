//! The counted memory of values is never less than what they take.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bivium_wasm::fuzzing::{Part, Shape, read, write};
use proptest::prelude::*;
use serde_json::Value;

use crate::LIMIT;
use crate::types::{parts, values};

/// Counts the memory that each thread holds, and its peak.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both exist for a while.
        count(signed(size));
        count(-signed(layout.size()));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The memory that this thread holds after `work`, and its peak meanwhile, beyond what it held before.
fn held<T>(work: impl FnOnce() -> T) -> (T, isize, isize) {
    let before = HELD.get();
    MOST.set(before);
    let done = work();
    (done, HELD.get() - before, MOST.get() - before)
}

/// Paths for messages, and other things that do not grow with the number of values.
const ASIDE: usize = 16 << 10;

fn is_counted(part: &Part, json: &Value) -> Result<(), TestCaseError> {
    let holds = |taken: isize, counted: usize| {
        prop_assert!(taken <= signed(counted + ASIDE), "{part}: {taken} bytes were counted as {counted}");
        Ok(())
    };
    let (json, owned, _) = held(|| json.clone());
    // The memory of the JSON is freed, or moves to the value.
    let (laid, more, _) = held(|| read(part, json, LIMIT).unwrap());
    holds(owned + more, laid.counted)?;
    let (memory, at) = laid.memory();
    let (written, more, most) = held(|| write(part, &memory, at, LIMIT).unwrap());
    holds(more, written.counted)?;
    holds(most, written.counted)?;
    Ok(())
}

proptest! {
    /// The same value many times, so that uncounted memory is not hidden by memory that is counted too high.
    #[test]
    fn what_is_counted_is_what_is_taken(
        (part, json) in parts().prop_flat_map(|part| (Just(part.clone()), values(&part)))
    ) {
        let list = Part::new(Shape::List(Box::new(Part::new(Shape::Tuple(vec![part]))), None));
        let item = Value::Array(vec![json]);
        is_counted(&list, &Value::Array(vec![item; 2000]))?;
    }
}
