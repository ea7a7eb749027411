//! Reading and checking manifests.

use std::hint::black_box;
use std::path::Path;

use bivium::Manifest;
use criterion::Criterion;

const SMALL: &str = include_str!("../../../examples/plugins/redact/redact.json");
const LARGE: &str = r#"{
  "name": "redact", "version": "1.0.0", "runtime": "wasm", "component": "redact.wasm",
  "description": "Masks what should not be read.", "category": "text",
  "permissions": {
    "filesystem": [{"path": "./data", "guest": "/data", "mode": "read"}],
    "network": ["https://api.example.com:443"], "env": ["LANG"], "clocks": true, "random": true,
    "secrets": [{"name": "API_KEY", "header": "Authorization", "format": "Bearer {}", "hosts": ["api.example.com"]}]
  },
  "config_schema": {"type": "object", "properties": {"top": {"type": "integer", "minimum": 1, "default": 3}}},
  "limits": {"memory_mb": 64, "call_ms": 5000}, "isolation": "instance", "instances": {"max": 2}
}"#;

pub fn measure(c: &mut Criterion) {
    let mut group = c.benchmark_group("manifest");
    for (name, text) in [("small", SMALL), ("with permissions", LARGE)] {
        let parse = || Manifest::parse(black_box(text), Path::new("redact.json")).expect("it is a manifest");
        parse();
        group.bench_function(name, |b| b.iter(parse));
    }
    group.finish();
}
