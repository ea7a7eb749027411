//! Components of world `bivium:plugin/plugin`, whose results are JSON texts that are short for what they cost the host.

use std::time::Duration;

use serde_json::json;

use crate::{Ask, Case, End};

const FAILURE: &str = r#"(record (field "kind" string) (field "message" string) (field "trace" string))"#;
const ERROR: &str = r#"(variant
    (case "not-found" string) (case "invalid-config" string) (case "invalid-input" string) (case "denied" string)
    (case "resource-exhausted" string) (case "timeout" string) (case "cancelled" string) (case "unavailable" string)
    (case "plugin-failed" $failure))"#;
const METHOD: &str = r#"(record (field "name" string) (field "description" string))"#;
const DESCRIPTION: &str =
    r#"(record (field "name" string) (field "version" string) (field "summary" string) (field "methods" $methods))"#;
/// The types of the functions, of types that have these names.
const FUNCTIONS: &str = r#"
    (type $done (result (error $error)))
    (type $result (result $payload (error $error)))
    (type $some (option $payload))
    (type $next-result (result $some (error $error)))
    (type $made (own $stream))
    (type $started (result $made (error $error)))
    (type $self (borrow $stream))
    (type $describe (func (result $description)))
    (type $schema (func (result string)))
    (type $initialize (func (param "config" string) (result $done)))
    (type $execute (func (param "method" string) (param "input" $payload) (result $result)))
    (type $execute-stream (func (param "method" string) (param "input" $payload) (result $started)))
    (type $next (func (param "self" $self) (result $next-result)))"#;

/// A component whose every answer is `["item,item,…,item"]` of this many MiB, with this item.
fn component(item: &str, mib: u32) -> String {
    let piece = format!("{item},").repeat(1000);
    let (len, count) = (u32::try_from(piece.len()).unwrap(), (mib << 20) / u32::try_from(piece.len()).unwrap());
    let quoted = piece.replace('\\', "\\\\").replace('"', "\\\"");
    // After the piece, with space for the arguments.
    let at = 1 << 20;
    let text = len * count + 1;
    let pages = (at + text).div_ceil(65536) + 1;
    format!(
        r#"(component
        (import "bivium:plugin/types@0.1.0" (instance $types
            (type $f {FAILURE})
            (export "failure" (type $failure (eq $f)))
            (type $e {ERROR})
            (export "error" (type $error (eq $e)))))
        (alias export $types "error" (type $error))
        (import "bivium:plugin/blobs@0.1.0" (instance $blobs
            (export "blob" (type $blob (sub resource)))
            (type $own (own $blob))
            (type $list (list $own))
            (type $p (record (field "json" string) (field "blobs" $list)))
            (export "payload" (type $payload (eq $p)))))
        (alias export $blobs "blob" (type $blob))
        (alias export $blobs "payload" (type $payload))

        (type $stream (resource (rep i32)))
        (core func $new (canon resource.new $stream))
        (core module $m
            (import "" "new" (func $new (param i32) (result i32)))
            (memory (export "mem") {pages})
            (data (i32.const 4096) "{quoted}")
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2048))
            ;; The text, and at 64 its pointer and its length.
            (func $text (local $at i32)
                (i32.store8 (i32.const {at}) (i32.const 0x5b))
                (local.set $at (i32.const {first}))
                (loop $next
                    (memory.copy (local.get $at) (i32.const 4096) (i32.const {len}))
                    (br_if $next (i32.lt_u
                        (local.tee $at (i32.add (local.get $at) (i32.const {len})))
                        (i32.const {end}))))
                (i32.store8 (i32.const {last}) (i32.const 0x5d))
                (i32.store (i32.const 64) (i32.const {at}))
                (i32.store (i32.const 68) (i32.const {text})))
            (func (export "describe") (result i32) (i32.const 0))
            (func (export "schema") (result i32) (call $text) (i32.const 64))
            (func (export "initialize") (param i32 i32) (result i32) (i32.const 0))
            ;; ok, with the payload.
            (func (export "execute") (param i32 i32 i32 i32 i32 i32) (result i32) (call $text) (i32.const 60))
            (func (export "execute-stream") (param i32 i32 i32 i32 i32 i32) (result i32)
                (i32.store (i32.const 132) (call $new (i32.const 1))) (i32.const 128))
            ;; ok, some, with the payload.
            (func (export "next") (param i32) (result i32)
                (i32.store (i32.const 60) (i32.const 1)) (call $text) (i32.const 56))
            (func (export "cleanup")))
        (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))

        (alias export $types "failure" (type $failure))
        (type $m {METHOD})
        (export $method "method" (type $m))
        (type $methods (list $method))
        (type $d {DESCRIPTION})
        (export $description "description" (type $d))
        {FUNCTIONS}
        (func $describe (type $describe)
            (canon lift (core func $i "describe") (memory (core memory $i "mem"))))
        (func $schema (type $schema) (canon lift (core func $i "schema") (memory (core memory $i "mem"))))
        (func $initialize (type $initialize)
            (canon lift (core func $i "initialize") (memory (core memory $i "mem")) (realloc (core func $i "realloc"))))
        (func $execute (type $execute)
            (canon lift (core func $i "execute") (memory (core memory $i "mem")) (realloc (core func $i "realloc"))))
        (func $execute-stream (type $execute-stream)
            (canon lift (core func $i "execute-stream") (memory (core memory $i "mem"))
                (realloc (core func $i "realloc"))))
        (func $next (type $next)
            (canon lift (core func $i "next") (memory (core memory $i "mem"))))
        (func $cleanup (canon lift (core func $i "cleanup")))

        ;; Gives the functions the names that they have in the world.
        (component $named
            (import "blob" (type $blob (sub resource)))
            (type $own (own $blob))
            (type $list (list $own))
            (type $p (record (field "json" string) (field "blobs" $list)))
            (import "payload" (type $payload (eq $p)))
            (type $f {FAILURE})
            (import "failure" (type $failure (eq $f)))
            (type $e {ERROR})
            (import "error" (type $error (eq $e)))
            (type $m {METHOD})
            (import "method" (type $method (eq $m)))
            (type $methods (list $method))
            (type $d {DESCRIPTION})
            (import "description" (type $description (eq $d)))
            (import "stream" (type $given (sub resource)))
            (export $stream "payload-stream" (type $given))
            {FUNCTIONS}
            (type $given-self (borrow $given))
            (type $given-made (own $given))
            (type $given-started (result $given-made (error $error)))
            (import "describe" (func $describe (type $describe)))
            (import "schema" (func $schema (type $schema)))
            (import "initialize" (func $initialize (type $initialize)))
            (import "execute" (func $execute (type $execute)))
            (import "start" (func $start (param "method" string) (param "input" $payload) (result $given-started)))
            (import "next" (func $next (param "self" $given-self) (result $next-result)))
            (import "cleanup" (func $cleanup))
            (export "describe" (func $describe))
            (export "config-schema" (func $schema))
            (export "initialize" (func $initialize))
            (export "current-config" (func $schema))
            (export "execute" (func $execute))
            (export "execute-stream" (func $start) (func (type $execute-stream)))
            (export "[method]payload-stream.next" (func $next) (func (type $next)))
            (export "cleanup" (func $cleanup)))
        (instance $guest (instantiate $named
            (with "blob" (type $blob)) (with "payload" (type $payload)) (with "failure" (type $failure))
            (with "error" (type $error)) (with "method" (type $method)) (with "description" (type $description))
            (with "stream" (type $stream))
            (with "describe" (func $describe)) (with "schema" (func $schema)) (with "initialize" (func $initialize))
            (with "execute" (func $execute)) (with "start" (func $execute-stream)) (with "next" (func $next))
            (with "cleanup" (func $cleanup))))
        (export "bivium:plugin/guest@0.1.0" (instance $guest)))"#,
        first = at + 1,
        end = at + text,
        last = at + text - 1,
    )
}

const DEFAULT: (u64, u64) = (256, 16);
const SMALL: (u64, u64) = (32, 4);

fn case(name: &str, ask: Ask, item: &str, mib: u32, (memory_mb, payload_mb): (u64, u64), end: End) -> Case {
    let name = format!("world {name} of {item}");
    Case { name, ask, component: component(item, mib), arguments: json!({}), memory_mb, payload_mb, end }
}

pub(crate) fn cases() -> Vec<Case> {
    const PAYLOAD: End = End::Refused("limits.payload_mb");
    let mut cases = Vec::new();
    for (item, mib) in [("[]", 3), ("0", 3), (r#"{"a":{}}"#, 3), (r#""x""#, 3), (r#"["",{"a":[]}]"#, 3)] {
        cases.push(case("result", Ask::Call, item, mib, SMALL, PAYLOAD));
    }
    let (soon, large) = (Duration::from_millis(500), (1024, 256));
    cases.extend([
        case("result", Ask::Call, r#"{"a":{}}"#, 15, DEFAULT, PAYLOAD),
        case("result", Ask::Call, "1.2345678901234567", 3, SMALL, End::Fits),
        case("result that is too long", Ask::Call, "1.2345678901234567", 5, SMALL, PAYLOAD),
        case("item of a stream", Ask::Stream, "[]", 3, SMALL, PAYLOAD),
        case("item of a stream", Ask::Stream, "1.2345678901234567", 3, SMALL, End::Fits),
        case("configuration", Ask::Configuration, "{}", 3, SMALL, PAYLOAD),
        case("schema", Ask::Schema, "{}", 3, SMALL, PAYLOAD),
        case("result in time", Ask::Call, "0.123456789e-300", 60, large, End::Late(soon)),
        case("result that is cancelled", Ask::Call, "0.123456789e-300", 60, large, End::Cancelled(soon)),
        case("item in time", Ask::Stream, "0.123456789e-300", 60, large, End::Late(soon)),
        case("item that is cancelled", Ask::Stream, "0.123456789e-300", 60, large, End::Cancelled(soon)),
    ]);
    cases
}

/// A component whose result takes the host the longest time to read.
pub(crate) fn slow() -> Case {
    case("result", Ask::Call, "0.123456789e-300", 30, (256, 64), End::Fits)
}
