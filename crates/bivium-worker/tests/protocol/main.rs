//! Snapshots of every message in `docs/worker-protocol.md` as it is sent, so that a change is seen in review.
//!
//! The worker's messages are read from its sockets; the host's messages are recorded in the worker, and its settings
//! where they are made (`wire` in the crate's sources). `INSTA_UPDATE=always cargo test --workspace --test protocol` updates the
//! snapshots.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

#[path = "../common/mod.rs"]
mod common;
mod raw;
mod replies;
mod requests;
mod shown;
