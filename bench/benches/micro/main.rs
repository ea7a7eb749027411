//! Measures parts that every call uses, separately, because changes of them are too small to be seen in a whole call: `cargo bench` in
//! `bench/`.

use criterion::{criterion_group, criterion_main};

mod blob;
mod conversion;
mod manifest;
mod payload;

criterion_group!(micro, payload::measure, conversion::measure, blob::measure, manifest::measure);
criterion_main!(micro);
