//! Parts that every call goes through, on their own, where a change would otherwise go unseen: `cargo bench` in `bench/`.

use criterion::{criterion_group, criterion_main};

mod blob;
mod conversion;
mod manifest;
mod payload;

criterion_group!(micro, payload::measure, conversion::measure, blob::measure, manifest::measure);
criterion_main!(micro);
