//! Programs: components that export `wasi:cli/run`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::io::Read as _;

use bivium_interface::{Call, ErrorCode, LogSource, Payload, PluginInterface, Result};
use common::{Loaded, engine, says, try_load};
use futures_util::TryStreamExt;
use serde_json::json;

/// A program that writes its arguments, one per line, and its input to standard output, or does what its second argument says: calls
/// `exit` with success or not, returns a failure, or traps. It starts only once, as a runtime library of a program does.
const PROGRAM: &str = r#"(component
    (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
    (alias export $errors "error" (type $error))
    (import "wasi:io/streams@0.2.0" (instance $streams
        (export "input-stream" (type $input (sub resource)))
        (export "output-stream" (type $output (sub resource)))
        (alias outer 1 $error (type $error))
        (type $closed (variant (case "last-operation-failed" (own $error)) (case "closed")))
        (export "stream-error" (type $failed (eq $closed)))
        (export "[method]input-stream.blocking-read"
            (func (param "self" (borrow $input)) (param "len" u64) (result (result (list u8) (error $failed)))))
        (export "[method]output-stream.blocking-write-and-flush"
            (func (param "self" (borrow $output)) (param "contents" (list u8)) (result (result (error $failed)))))))
    (alias export $streams "input-stream" (type $input))
    (alias export $streams "output-stream" (type $output))
    (import "wasi:cli/stdin@0.2.0" (instance $in
        (alias outer 1 $input (type $outer)) (export "input-stream" (type $stream (eq $outer)))
        (export "get-stdin" (func (result (own $stream))))))
    (import "wasi:cli/stdout@0.2.0" (instance $out
        (alias outer 1 $output (type $outer)) (export "output-stream" (type $stream (eq $outer)))
        (export "get-stdout" (func (result (own $stream))))))
    (import "wasi:cli/stderr@0.2.0" (instance $err
        (alias outer 1 $output (type $outer)) (export "output-stream" (type $stream (eq $outer)))
        (export "get-stderr" (func (result (own $stream))))))
    (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
    (import "wasi:cli/environment@0.2.0" (instance $environment (export "get-arguments" (func (result (list string))))))
    (core module $memory
        (memory (export "memory") 400)
        (data (i32.const 16) "\nno such thing\n")
        (global $next (mut i32) (i32.const 65536))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at)))
    (core instance $memory (instantiate $memory))
    (core func $stdin (canon lower (func $in "get-stdin")))
    (core func $stdout (canon lower (func $out "get-stdout")))
    (core func $stderr (canon lower (func $err "get-stderr")))
    (core func $exit (canon lower (func $exit "exit")))
    (core func $arguments (canon lower (func $environment "get-arguments")
        (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
    (core func $read (canon lower (func $streams "[method]input-stream.blocking-read")
        (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
    (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
        (memory (core memory $memory "memory"))))
    (core module $guest
        (import "host" "memory" (memory 1))
        (import "host" "stdin" (func $stdin (result i32)))
        (import "host" "stdout" (func $stdout (result i32)))
        (import "host" "stderr" (func $stderr (result i32)))
        (import "host" "exit" (func $exit (param i32)))
        (import "host" "arguments" (func $arguments (param i32)))
        (import "host" "read" (func $read (param i32 i64 i32)))
        (import "host" "write" (func $write (param i32 i32 i32 i32)))
        (global $started (mut i32) (i32.const 0))
        (func (export "run") (result i32)
            (local $list i32) (local $left i32) (local $out i32) (local $in i32) (local $first i32)
            (if (global.get $started) (then unreachable))
            (global.set $started (i32.const 1))
            (call $arguments (i32.const 64))
            (local.set $list (i32.load (i32.const 64)))
            (local.set $left (i32.load (i32.const 68)))
            (local.set $out (call $stdout))
            ;; What the second argument begins with: e exits, f exits with a failure, r returns one, t traps.
            (if (i32.gt_u (local.get $left) (i32.const 1)) (then
                (local.set $first (i32.load8_u (i32.load offset=8 (local.get $list))))
                (if (i32.eq (local.get $first) (i32.const 101)) (then (call $exit (i32.const 0))))
                (if (i32.eq (local.get $first) (i32.const 102)) (then
                    (call $write (local.get $out) (i32.const 17) (i32.const 7) (i32.const 128))
                    (call $write (call $stderr) (i32.const 17) (i32.const 14) (i32.const 128))
                    (call $exit (i32.const 1))))
                (if (i32.eq (local.get $first) (i32.const 114)) (then (return (i32.const 1))))
                (if (i32.eq (local.get $first) (i32.const 116)) (then unreachable))))
            (block $done (loop $next
                (br_if $done (i32.eqz (local.get $left)))
                (call $write (local.get $out) (i32.load (local.get $list)) (i32.load offset=4 (local.get $list)) (i32.const 128))
                (call $write (local.get $out) (i32.const 16) (i32.const 1) (i32.const 128))
                (local.set $list (i32.add (local.get $list) (i32.const 8)))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br $next)))
            (local.set $in (call $stdin))
            (block $end (loop $more
                (call $read (local.get $in) (i64.const 4096) (i32.const 192))
                (br_if $end (i32.load8_u (i32.const 192)))
                (call $write (local.get $out) (i32.load (i32.const 196)) (i32.load (i32.const 200)) (i32.const 128))
                (br $more)))
            (i32.const 0)))
    (core instance $host
        (export "memory" (memory $memory "memory"))
        (export "stdin" (func $stdin)) (export "stdout" (func $stdout)) (export "stderr" (func $stderr))
        (export "exit" (func $exit)) (export "arguments" (func $arguments))
        (export "read" (func $read)) (export "write" (func $write)))
    (core instance $guest (instantiate $guest (with "host" (instance $host))))
    (func $run (result (result)) (canon lift (core func $guest "run")))
    (instance $n (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $n)))"#;

async fn program() -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prog.wasm");
    std::fs::write(&path, wat::parse_str(PROGRAM).unwrap()).unwrap();
    let loaded = try_load(engine(), &path, json!({"limits": {"payload_mb": 1}})).await.unwrap();
    loaded.plugin.initialize(json!({})).await.unwrap();
    loaded
}

async fn run(loaded: &Loaded, call: Call) -> Result<Payload> {
    loaded.plugin.execute(call).await
}

#[tokio::test]
async fn arguments_and_input_go_in_and_the_output_comes_out_call_after_call() {
    let loaded = program().await;
    for n in 0..3 {
        let call =
            Call::new().arg("one").arg(n).named("args", json!(["two words", true])).named("stdin", "and h\u{e4}");
        let output = format!("prog.wasm\none\n{n}\ntwo words\ntrue\nand h\u{e4}");
        assert_eq!(run(&loaded, call).await.unwrap().json, output);
    }
    assert_eq!(run(&loaded, Call::new().method("run")).await.unwrap().json, "prog.wasm\n");
    // Longer than one read, from a blob.
    let text = "0123456789".repeat(20_000);
    let blob = loaded.exchange.write(text.as_bytes(), "text/plain").unwrap();
    let output = run(&loaded, Call::new().blob("stdin", blob)).await.unwrap().json;
    assert_eq!(output, format!("prog.wasm\n{text}"));
    let blob = loaded.exchange.write(b"\xff\x00\xfe", "image/x").unwrap();
    let result = run(&loaded, Call::new().blob("stdin", blob)).await.unwrap();
    let mut bytes = Vec::new();
    result.blob(&result.json).unwrap().open().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"prog.wasm\n\xff\x00\xfe");
    let items: Vec<_> = loaded.plugin.execute_stream(Call::new()).await.unwrap().try_collect().await.unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].json, "prog.wasm\n");
    assert_eq!(loaded.plugin.methods().await.unwrap()[0].name, "execute");
    assert_eq!(loaded.plugin.stats().await.unwrap().failed, 0);
}

#[tokio::test]
async fn an_exit_status_is_success_or_an_error_of_the_plugin() {
    let loaded = program().await;
    for _ in 0..2 {
        assert_eq!(run(&loaded, Call::new().arg("exit")).await.unwrap().json, "");
    }
    let call = Call::new().arg("fail");
    let id = call.id();
    let error = run(&loaded, call).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PluginFailed);
    says(&error, &["exit status 1: no such thing"]);
    let said = loaded.log.tail(10).into_iter().find(|record| record.source == LogSource::Stdout).unwrap();
    assert_eq!((said.message.as_str(), said.call), ("no such", Some(id)), "what it wrote is in the log");
    let error = run(&loaded, Call::new().arg("return")).await.unwrap_err();
    says(&error, &["exit status 1", "wrote nothing on standard error"]);
    assert_eq!(run(&loaded, Call::new().arg("trap")).await.unwrap_err().code(), ErrorCode::Crashed);
    assert_eq!(run(&loaded, Call::new()).await.unwrap().json, "prog.wasm\n");
}

#[tokio::test]
async fn arguments_that_a_program_cannot_take_are_refused() {
    let loaded = program().await;
    for (call, code, words) in [
        (Call::new().method("main"), ErrorCode::NotFound, "no method `main`"),
        (Call::new().named("width", 1), ErrorCode::InvalidInput, "no argument `width`"),
        (Call::new().arg(json!({})), ErrorCode::InvalidInput, "the argument 0"),
        (Call::new().arg("a\0b"), ErrorCode::InvalidInput, "NUL"),
        (Call::new().named("args", "one"), ErrorCode::InvalidInput, "`args`"),
        (Call::new().named("stdin", 1), ErrorCode::InvalidInput, "`stdin`"),
        (Call::new().named("stdin", "x".repeat(2 << 20)), ErrorCode::ResourceExhausted, "limits.payload_mb"),
        // The program's name is the first argument.
        (Call::new().named("stdin", "x".repeat(1 << 20)), ErrorCode::ResourceExhausted, "standard output"),
    ] {
        let error = run(&loaded, call).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        says(&error, &[words]);
    }
    let blob = loaded.exchange.write(&vec![0; 2 << 20], "image/x").unwrap();
    says(
        &run(&loaded, Call::new().blob("stdin", blob)).await.unwrap_err(),
        &["standard input", "permissions.blob_files"],
    );
    assert_eq!(loaded.plugin.initialize(json!({"a": 1})).await.unwrap_err().code(), ErrorCode::InvalidConfig);
}
