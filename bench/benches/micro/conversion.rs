//! JSON to the values of a typed component and back.

use std::hint::black_box;

use bivium_wasm::fuzzing::{Int, Shape, read, write};
use criterion::{BatchSize, BenchmarkId, Criterion};
use serde_json::{Value, json};

use crate::payload::words;

const LIMIT: usize = 16 << 20;

pub fn measure(c: &mut Criterion) {
    let mut group = c.benchmark_group("conversion");
    let word = Shape::Record(vec![
        ("word".to_owned(), Shape::String),
        ("start".to_owned(), Shape::F64),
        ("end".to_owned(), Shape::F64),
    ]);
    let list = |item| Shape::List(Box::new(item), None);
    for (name, shape, json) in [
        ("text of 64 KiB", Shape::String, json!("x".repeat(64 << 10))),
        ("1000 numbers", list(Shape::Int(Int::S64)), (0..1000).collect::<Value>()),
        ("1000 words", list(word), words().into()),
    ] {
        let value = read(&shape, json.clone(), LIMIT).expect("it fits the type");
        group.bench_function(BenchmarkId::new("read", name), |b| {
            b.iter_batched(|| json.clone(), |json| read(black_box(&shape), json, LIMIT), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("write", name), |b| {
            b.iter_batched(|| value.clone(), |value| write(black_box(&shape), value, LIMIT), BatchSize::SmallInput);
        });
    }
    group.finish();
}
