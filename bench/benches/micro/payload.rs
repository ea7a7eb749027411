//! Payloads to JSON text and back, as both runtimes do it.

use std::hint::black_box;

use bivium::{Blob, Call, Payload};
use criterion::{BenchmarkId, Criterion, Throughput};
use serde_json::{Value, json};

pub fn measure(c: &mut Criterion) {
    let mut group = c.benchmark_group("payload");
    for (name, arguments) in [
        ("20 bytes", json!({"text": "x".repeat(20)})),
        ("64 KiB", json!({"text": "x".repeat(64 << 10)})),
        ("1000 words", json!({"words": words()})),
    ] {
        let text = arguments.to_string();
        let call = Call::new().named_from(arguments.into()).expect("it is an object");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("encode", name), |b| {
            b.iter(|| black_box(&call).document().expect("all arguments have names").to_string());
        });
        group.bench_function(BenchmarkId::new("decode", name), |b| {
            b.iter(|| {
                let json: Value = serde_json::from_str(black_box(&text)).expect("it is JSON");
                Payload::from(json).checked().expect("it names no blob")
            });
        });
    }
    group.finish();

    let blobs: Vec<Blob> = (0..100).map(|n| Blob::new(format!("/{n}").into(), "audio/wav", 1, None)).collect();
    let segments: Vec<Value> = (0..100).map(|n| json!({"audio": Payload::reference(n), "start_s": n})).collect();
    let payload = Payload { json: segments.into(), blobs };
    c.bench_function("payload/a part with its blob", |b| b.iter(|| black_box(&payload).part("/50/audio")));
    c.bench_function("payload/100 blobs moved up", |b| b.iter(|| black_box(payload.clone()).shifted(7)));
}

/// Words as a speech recognizer returns them.
pub fn words() -> Vec<Value> {
    (0..1000)
        .map(|n| json!({"word": format!("word{n}"), "start": f64::from(n) / 7.0, "end": f64::from(n) / 6.0}))
        .collect()
}
