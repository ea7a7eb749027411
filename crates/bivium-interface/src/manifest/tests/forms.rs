//! The form of a manifest, its schema and its documentation.

use std::path::Path;

use serde_json::{Value, json};

use super::super::{Component, FilesystemMode, Instances, Isolation, PythonKind, RuntimeKind};
use super::*;

/// Three manifests from the project's design.
pub(super) const TRANSCRIBER: &str = r#"{ "name": "whisper-local", "version": "1.0.0", "description": "…", "category": "transcription",
  "runtime": "python", "python_path": "env/bin/python", "module": "pkg.plugin", "class": "WhisperPlugin",
  "env_vars": {"CUDA_VISIBLE_DEVICES": "0"},
  "config_schema": {}, "resources": {"requires_gpu": true, "min_gpu_vram_mb": 4096},
  "concurrency": 1, "replicas": 1, "idle_stop_s": 600 }"#;
const SOURCE: &str = r#"{ "name": "transcribe", "version": "1.0.0", "module": "transcribe", "class": "Transcribe", "source": ".",
  "requirements": ["pocketsphinx==5.1.1"], "requires_python": ">=3.9" }"#;
pub(super) const REDACT: &str = r#"{ "$schema": "manifest.schema.json",
  "name": "redact", "version": "1.0.0", "runtime": "wasm", "component": "redact.wasm",
  "sha256": "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
  "permissions": {"filesystem": [{"path": "./data", "guest": "/data", "mode": "write"}],
                  "network": ["https://api.example.com:443"], "env": ["LANG"], "clocks": true, "random": true,
                  "secrets": [{"name": "API_KEY", "header": "Authorization", "format": "Bearer {}",
                               "hosts": ["api.example.com"]}]},
  "limits": {"memory_mb": 64, "call_ms": 5000, "fuel": null}, "isolation": "call", "instances": {"max": 2} }"#;

#[test]
fn the_manifests_of_the_design_are_read() {
    let manifest = parse(TRANSCRIBER).unwrap();
    assert_eq!((manifest.resources.min_gpu_vram_mb, &*manifest.path), (Some(4096), Path::new(PATH)));
    let python = manifest.python().unwrap();
    assert_eq!((python.object.name.as_str(), python.object.kind), ("WhisperPlugin", PythonKind::Class));
    assert_eq!(python.python_path.as_deref(), Some(Path::new("/plugins/env/bin/python")));
    assert_eq!((python.idle_stop_s, python.start_s, manifest.extensions.is_empty()), (Some(600), 60, true));

    let source = parse(SOURCE).unwrap();
    let source = source.python().unwrap();
    assert_eq!(source.source.as_deref(), Some(Path::new("/plugins")));
    assert_eq!(source.requirements.as_deref().unwrap(), ["pocketsphinx==5.1.1"]);

    let manifest = parse(REDACT).unwrap();
    let wasm = manifest.wasm().unwrap();
    assert_eq!((wasm.isolation, wasm.instances), (Isolation::Call, Instances { max: 2 }));
    assert_eq!(wasm.component, Component::File("/plugins/redact.wasm".into()));
    assert!(wasm.sha256.as_deref().unwrap().starts_with("e3b0c442"));
    let permissions = manifest.permissions.unwrap();
    assert_eq!(permissions.filesystem[0].path, Path::new("/plugins/data"));
    assert_eq!(permissions.filesystem[0].mode, FilesystemMode::Write);
    assert_eq!(manifest.limits.call_ms, Some(5000));
}

#[test]
fn the_runtime_follows_from_the_keys() {
    let wasm = parse(r#"{"name": "a", "version": "1", "component": "a.wasm", "runtime": null}"#).unwrap();
    assert_eq!(wasm.runtime.kind(), RuntimeKind::Wasm);
    let python = parse(r#"{"name": "a", "version": "1", "module": "a", "class": "A"}"#).unwrap();
    assert_eq!(python.runtime.kind(), RuntimeKind::Python);
}

#[test]
fn paths_are_taken_as_they_stand() {
    let text = r#"{"name": "a", "version": "1", "module": "a", "class": "A",
        "python_path": "../env/./bin/python", "source": "/abs/src"}"#;
    let manifest = Manifest::parse(text, Path::new("relative/a.json")).unwrap();
    let here = std::env::current_dir().unwrap();
    let python = manifest.python().unwrap();
    assert_eq!(python.python_path, Some(here.join("relative/../env/bin/python")));
    assert_eq!(python.source.as_deref(), Some(Path::new("/abs/src")));
    assert_eq!(manifest.path, here.join("relative/a.json"));
}

#[test]
fn a_manifest_survives_json() {
    for text in [TRANSCRIBER, SOURCE, REDACT] {
        let manifest = parse(text).unwrap();
        let again = parse(&serde_json::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(again, manifest);
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert_eq!(parse(&format!("\u{feff}{SOURCE}")).unwrap(), parse(SOURCE).unwrap());
}

#[test]
fn the_schema_is_one_and_describes_what_is_read() {
    let schema = Forms::plain().schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "Bivium plugin manifest");
    assert_eq!(schema["required"], json!(["name", "version"]));
    assert_eq!(schema["additionalProperties"], false);
    let validator = jsonschema::validator_for(schema).unwrap();
    for text in [TRANSCRIBER, SOURCE, REDACT] {
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).collect::<Vec<_>>());
    }
    assert!(!validator.is_valid(&json!({"name": "-a", "version": "1"})));
    assert!(!validator.is_valid(&json!({"name": "a", "version": "1", "env_vars": {"A=B": "1"}})));
}
