//! Conversion from JSON to the memory of a typed component, and back.

use std::hint::black_box;

use bivium_wasm::fuzzing::{Int, Part, Shape, read, write};
use criterion::{BatchSize, BenchmarkId, Criterion};
use serde_json::{Value, json};

use crate::payload::words;

const LIMIT: usize = 16 << 20;

pub fn measure(c: &mut Criterion) {
    let mut group = c.benchmark_group("conversion");
    let word = Shape::Record(vec![
        ("word".to_owned(), Part::new(Shape::String)),
        ("start".to_owned(), Part::new(Shape::F64)),
        ("end".to_owned(), Part::new(Shape::F64)),
    ]);
    let list = |item| Part::new(Shape::List(Box::new(Part::new(item)), None));
    for (name, part, json) in [
        ("text of 64 KiB", Part::new(Shape::String), json!("x".repeat(64 << 10))),
        ("1000 numbers", list(Shape::Int(Int::S64)), (0..1000).collect::<Value>()),
        ("1000 words", list(word), words().into()),
    ] {
        let laid = read(&part, json.clone(), LIMIT).expect("it fits the type");
        let (memory, at) = laid.memory();
        group.bench_function(BenchmarkId::new("read", name), |b| {
            b.iter_batched(|| json.clone(), |json| read(black_box(&part), json, LIMIT), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("write", name), |b| {
            b.iter(|| write(black_box(&part), &memory, at, LIMIT));
        });
    }
    group.finish();
}
