//! What is refused at load, each with one sentence that says why and what to do.

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
    says(&error, &["exports nothing", "`bivium:plugin/guest` of version 0.1.0"]);
}

#[tokio::test]
async fn another_world() {
    let typed = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 7))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (export "seven" (func $f)))"#;
    let error = refused(typed).await.error;
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["another world", "`seven`", "`bivium:plugin/guest` of version 0.1.0", "not supported yet"]);
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
    says(&error, &["not complete", "describe"]);
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
    says(&refused(text).await.error, &["not complete"]);
}

#[tokio::test]
async fn another_digest() {
    let error = try_load(engine(), &guest("echo"), json!({"sha256": "00"})).await.err().unwrap();
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
