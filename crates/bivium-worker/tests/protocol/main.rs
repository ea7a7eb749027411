//! Every message of `docs/worker-protocol.md` as it travels, in snapshots: who changes one sees it in the review.
//!
//! What the worker writes is taken from its sockets; what the host writes is taken down in the worker, and its settings
//! where they are made (`wire` in the crate's sources). `INSTA_UPDATE=always cargo test --workspace --test protocol` writes the
//! snapshots anew.

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
