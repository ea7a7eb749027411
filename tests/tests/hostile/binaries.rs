//! Files that are not components, or not for this host.

use bivium::ErrorCode;
use serde_json::json;

use crate::scene::{Scene, guest, write};

async fn refused(binary: &[u8], words: &[&str]) {
    let (_kept, path) = write(binary);
    let scene = Scene::with(&path, json!({})).await;
    scene.is_refused(ErrorCode::InvalidManifest, words).await;
    scene.end().await;
}

async fn refused_text(text: &str, words: &[&str]) {
    refused(&wat::parse_str(text).unwrap(), words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_malformed_binary() {
    refused(b"\0asm\x0d\0\x01\0\xff\xff\xff\xff\xff", &["damaged"]).await;
    refused(b"MZ\x90\0", &["not WebAssembly"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_truncated_binary() {
    let whole = std::fs::read(guest("misbehave")).unwrap();
    for part in [1, 8, 100, whole.len() / 2, whole.len() - 1] {
        let (_kept, path) = write(&whole[..part]);
        let scene = Scene::with(&path, json!({})).await;
        scene.is_refused(ErrorCode::InvalidManifest, &[]).await;
        scene.end().await;
    }
}

/// A component may still be valid after a bit was flipped: it then runs, traps or answers, and does not affect others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bit_flipped_binaries() {
    let whole = std::fs::read(guest("misbehave")).unwrap();
    let steps = 12;
    for n in 0..steps {
        let mut flipped = whole.clone();
        flipped[n * whole.len() / steps + 9] ^= 1 << (n % 8);
        let (_kept, path) = write(&flipped);
        let scene = Scene::with(&path, json!({"limits": {"call_ms": 200}})).await;
        let manager = &scene.manager;
        let run = async {
            manager.load("attacker").await?;
            manager.execute("attacker", bivium::Call::new().method("echo")).await
        };
        if let Err(error) = scene.attack(run).await {
            assert_eq!(error.plugin(), Some("attacker"));
            assert_ne!(error.code(), ErrorCode::Internal, "{error}");
        }
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_core_module_in_place_of_a_component() {
    refused_text("(module (func (export \"execute\")))", &["core module", "wasm-tools component new"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_import_of_an_unknown_interface() {
    let text = r#"(component
        (import "evil:kernel/rootkit@1.0.0" (instance $i (export "install" (func))))
        (core module $m (func (export "f")))
        (core instance $c (instantiate $m))
        (func (export "run") (canon lift (core func $c "f"))))"#;
    refused_text(text, &["evil:kernel/rootkit"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_export_with_the_wrong_type() {
    let text = r#"(component
        (core module $m (func (export "f")))
        (core instance $c (instantiate $m))
        (func $f (canon lift (core func $c "f")))
        (instance $guest
            (export "describe" (func $f)) (export "config-schema" (func $f)) (export "initialize" (func $f))
            (export "current-config" (func $f)) (export "execute" (func $f)) (export "execute-stream" (func $f))
            (export "cleanup" (func $f)))
        (export "bivium:plugin/guest@0.1.0" (instance $guest)))"#;
    refused_text(text, &[]).await;
}
