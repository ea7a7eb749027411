//! Guests that use too much memory or return too much data.

use bivium::{Call, ErrorCode};
use serde_json::json;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_memory_bomb() {
    let scene = Scene::misbehave(json!({"limits": {"memory_mb": 16}})).await;
    scene.fails_in("memory-bomb", ErrorCode::ResourceExhausted, &["limits.memory_mb", "16 MiB"]).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_recursion() {
    let scene = Scene::misbehave(json!({})).await;
    scene.fails_in("recurse", ErrorCode::Crashed, &["trapped"]).await;
    scene.still_serves().await;
    scene.end().await;
}

/// A component as text, whose recursion reaches the host's stack limit and not one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_recursion_on_the_hosts_stack() {
    let text = r#"(component
        (core module $m (func $f (export "f") (result i32) (i32.add (call $f) (i32.const 1))))
        (core instance $i (instantiate $m))
        (func (export "recurse") (result u32) (canon lift (core func $i "f"))))"#;
    let scene = Scene::text(text, json!({})).await;
    scene.fails_in("recurse", ErrorCode::ResourceExhausted, &["call stack exhausted", "limits.stack_kb"]).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_table_bomb() {
    let text = r#"(component
        (core module $m
            (table $t 1 funcref)
            (func (export "bomb") (result i32)
                (loop $again
                    (br_if $again
                        (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
                unreachable))
        (core instance $i (instantiate $m))
        (func (export "bomb") (result u32) (canon lift (core func $i "bomb"))))"#;
    let scene = Scene::text(text, json!({"limits": {"table_elements": 20_000}})).await;
    scene.fails_in("bomb", ErrorCode::ResourceExhausted, &["limits.table_elements", "20000"]).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_giant_return_string() {
    let scene = Scene::misbehave(json!({"limits": {"payload_mb": 1, "memory_mb": 1024}})).await;
    for megabytes in [2, 200] {
        let call = Call::new().method("huge-result").named("megabytes", megabytes);
        scene.fails(call, ErrorCode::ResourceExhausted, &["limits.payload_mb"]).await;
        scene.still_serves().await;
    }
    scene.end().await;
}

/// A list of eight million elements in 64 MiB of memory, and one that claims to reach beyond its memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_giant_list() {
    let text = r#"(component
        (core module $m
            (memory (export "memory") 1025)
            (func (export "giant") (result i32)
                (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 8000000)) (i32.const 0))
            (func (export "beyond") (result i32)
                (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 0x1fffffff)) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func (export "giant") (result (list u64)) (canon lift (core func $i "giant") (memory (core memory $i "memory"))))
        (func (export "beyond") (result (list u64)) (canon lift (core func $i "beyond") (memory (core memory $i "memory")))))"#;
    let scene = Scene::text(text, json!({"limits": {"payload_mb": 1}})).await;
    scene.fails_in("giant", ErrorCode::ResourceExhausted, &["limits.payload_mb"]).await;
    scene.fails_in("beyond", ErrorCode::Crashed, &["outside its memory"]).await;
    scene.end().await;
}
