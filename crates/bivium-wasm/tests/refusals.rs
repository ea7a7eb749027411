//! Components that are refused when they are loaded, each with one sentence that says why and what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::path::PathBuf;

use bivium_interface::{ErrorCode, PluginError};
use common::{engine, guest, says, try_load};
use serde_json::json;

struct Refused {
    error: PluginError,
    path: PathBuf,
}

async fn refused_bytes(bytes: &[u8]) -> Refused {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    std::fs::write(&path, bytes).unwrap();
    let error = try_load(engine(), &path, json!({})).await.err().expect("it is loaded");
    Refused { error, path }
}

async fn refused(text: &str) -> Refused {
    refused_bytes(&wat::parse_str(text).unwrap()).await
}

#[tokio::test]
async fn not_web_assembly() {
    let Refused { error, path } = refused_bytes(b"#!/bin/sh\n").await;
    assert_eq!((error.code(), error.plugin()), (ErrorCode::InvalidManifest, Some("p")));
    says(&error, &[path.to_str().unwrap(), "is not WebAssembly", "`component`"]);
    assert_eq!(refused_bytes(b"").await.error.code(), ErrorCode::InvalidManifest);
}

#[tokio::test]
async fn a_core_module() {
    let error = refused("(module)").await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["core module", "wasm-tools component new"]);
}

#[tokio::test]
async fn damaged() {
    let whole = std::fs::read(guest("echo")).unwrap();
    let truncated = refused_bytes(&whole[..whole.len() / 2]).await.error;
    assert_eq!(truncated.code(), ErrorCode::InvalidManifest);
    says(&truncated, &["damaged"]);
}

#[tokio::test]
async fn nothing_exported() {
    let error = refused("(component)").await.error;
    says(&error, &["exports nothing", "`bivium:plugin/guest` of version 0.1.0", "functions of its own"]);
}

/// A component with these types that exports one function with them, `f`.
fn function(types: &str, params: &str) -> String {
    format!(
        r#"(component {types}
            (core module $m
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 8)
                (func (export "f") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func $f {params} (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
            (instance $api (export "f" (func $f)))
            (export "acme:tools/api@1.0.0" (instance $api)))"#
    )
}

#[tokio::test]
async fn a_function_of_resources() {
    let text = r#"(component
        (type $thing (resource (rep i32)))
        (export $exported "thing" (type $thing))
        (core module $m (func (export "f") (param i32)))
        (core instance $i (instantiate $m))
        (func (export "use-it") (param "it" (own $exported)) (canon lift (core func $i "f"))))"#;
    let error = refused(text).await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["function `use-it` has a resource", "plain values"]);
}

#[tokio::test]
async fn a_function_of_streams() {
    let text = r#"(component
        (type $bytes (stream u8))
        (core module $m (func (export "f") (param i32)))
        (core instance $i (instantiate $m))
        (func (export "sip") (param "it" $bytes) (canon lift (core func $i "f"))))"#;
    let error = refused(text).await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["async"]);
}

#[tokio::test]
async fn functions_of_types_without_measure() {
    let deep: String = (1..60).map(|n| format!("(type $t{n} (option $t{}))", n - 1)).collect();
    let text = function(&format!("(type $t0 (option u8)) {deep}"), r#"(param "it" (list $t59))"#);
    let error = refused(&text).await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["function `acme:tools/api@1.0.0#f`", "nested too deeply"]);

    // A few types, each used twice in the next one.
    let wide: String = (1..16).map(|n| format!("(type $t{n} (tuple $t{0} $t{0}))", n - 1)).collect();
    let text = function(&format!("(type $t0 (tuple u8 u8)) {wide}"), r#"(param "it" (list $t15))"#);
    let error = refused(&text).await.error;
    says(&error, &["function `acme:tools/api@1.0.0#f`", "too large"]);
}

#[tokio::test]
async fn another_version_of_the_world() {
    let newer = r#"(component (instance $i) (export "bivium:plugin/guest@0.2.0" (instance $i)))"#;
    let error = refused(newer).await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["0.2.0", "0.1.0", "wit/"]);

    let imports = r#"(component
        (import "bivium:plugin/host@7.1.0" (instance))
        (instance $i) (export "bivium:plugin/guest@0.1.0" (instance $i)))"#;
    says(&refused(imports).await.error, &["7.1.0", "0.1.0"]);
}

#[tokio::test]
async fn a_world_that_is_not_complete() {
    let error = refused(r#"(component (instance $i) (export "bivium:plugin/guest@0.1.0" (instance $i)))"#).await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["lacks an export", "describe"]);
}

#[tokio::test]
async fn an_import_that_nobody_provides() {
    let text = r#"(component
        (import "acme:secrets/vault@1.0.0" (instance (export "open" (func))))
        (instance $i) (export "bivium:plugin/guest@0.1.0" (instance $i)))"#;
    let error = refused(text).await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["acme:secrets/vault@1.0.0"]);
}

#[tokio::test]
async fn wasi_is_no_reason() {
    let text = r#"(component
        (import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result u64)))))
        (instance $i) (export "bivium:plugin/guest@0.1.0" (instance $i)))"#;
    says(&refused(text).await.error, &["lacks an export"]);
}

#[tokio::test]
async fn another_digest() {
    let error = try_load(engine(), &guest("echo"), json!({"sha256": "00".repeat(32)})).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["SHA-256", "`sha256`"]);
}

#[tokio::test]
async fn no_file_and_no_regular_file() {
    let directory = tempfile::tempdir().unwrap();
    let error = try_load(engine(), &directory.path().join("none.wasm"), json!({})).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::NotFound);
    let error = try_load(engine(), directory.path(), json!({})).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
}

#[tokio::test]
async fn a_file_that_is_too_large() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.wasm");
    std::fs::File::create(&path).unwrap().set_len((1 << 20) + 1).unwrap();
    let error = try_load(engine(), &path, json!({"limits": {"component_mb": 1}})).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["1 MiB", "limits.component_mb", path.to_str().unwrap()]);
}

#[tokio::test]
async fn wasi_of_a_later_version() {
    let text = r#"(component
        (import "wasi:random/random@0.3.0" (instance (export "get-random-u64" (func (result u64)))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let error = refused(text).await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["built for WASI 0.3", "wasi:random/random@0.3.0", "wasm32-wasip2"]);
}
