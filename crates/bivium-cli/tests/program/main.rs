//! Tests of the program as its users see it: command lines, standard output, standard error and exit status.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod checks;
mod compile;
mod completions;
mod confined;
mod examples;
#[path = "../../../../tests/support/executable.rs"]
mod executable;
mod files;
mod full;
mod info;
mod json;
mod kept;
mod logs;
mod objects;
mod pipelines;
mod place;
mod policy;
mod reader;
mod refused;
mod saved;
mod secrets;
#[path = "../../../../tests/support/skipped.rs"]
mod skipped;
#[path = "../../../../tests/support/small_disk.rs"]
mod small_disk;
#[path = "../../../../tests/support/snippets.rs"]
mod snippets;
mod strange_text;
mod terminal;
mod trust;
mod typed;
mod unicode;
mod usage;
mod worker;
