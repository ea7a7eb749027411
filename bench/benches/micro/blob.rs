//! Blobs: making, using by reference, opening and reading.

use std::hint::black_box;

use bivium::{Blob, Exchange};
use bivium_exchange::read_at;
use criterion::{BenchmarkId, Criterion};

pub fn measure(c: &mut Criterion) {
    let mut group = c.benchmark_group("blob");
    let exchange = Exchange::open().expect("there is room");
    for (name, size) in [("1 KiB", 1 << 10), ("1 MiB", 1 << 20)] {
        let data = vec![1; size];
        let write = || exchange.write(black_box(&data), "application/octet-stream").expect("there is room");
        group.bench_function(BenchmarkId::new("write and delete", name), |b| b.iter(write));
        let blob = write();
        group.bench_function(BenchmarkId::new("open and read", name), |b| {
            b.iter(|| read_at(&blob.open().expect("it is there"), 0, size).expect("it can be read"));
        });
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    group.bench_function("by reference", |b| b.iter(|| Blob::by_reference(black_box(file), None)));
    let blob = exchange.write(b"x", "text/plain").expect("there is room");
    group.bench_function("open", |b| b.iter(|| black_box(&blob).open()));
    group.finish();
}
