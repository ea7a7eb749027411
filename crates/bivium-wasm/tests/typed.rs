//! Components that do not implement Bivium's world: their functions are methods.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::io::Read;
use std::time::Duration;

use bivium_interface::{Blob, Call, ErrorCode, Payload, PluginError, PluginInterface};
use common::{load, says};
use futures_util::StreamExt;
use serde_json::{Value, json};

async fn typed() -> common::Loaded {
    load("typed", json!({"limits": {"call_ms": 60_000}})).await
}

fn method(name: &'static str) -> Call {
    Call::new().method(name)
}

/// What `echo.NAME` returns for `value`.
async fn echoed(plugin: &dyn PluginInterface, name: &str, value: Value) -> Result<Value, PluginError> {
    let call = Call::new().method(format!("echo.{name}")).named("value", value);
    plugin.execute(call).await.map(|payload| payload.json)
}

fn bytes_of(blob: &Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    blob.open().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_function_is_a_method_by_its_short_and_its_full_name() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({})).await.unwrap();
    let greet = method("greet").named("name", "you");
    assert_eq!(plugin.execute(greet).await.unwrap().json, "hello you");
    let greet = method("greet").arg("you").named("greeting", "hi");
    assert_eq!(plugin.execute(greet).await.unwrap().json, "hi you");
    for name in ["echo.of-u8", "example:typed/echo@1.0.0#of-u8"] {
        assert_eq!(plugin.execute(method(name).arg(7)).await.unwrap().json, 7);
    }
    for n in 1..3 {
        assert_eq!(plugin.execute(method("count")).await.unwrap().json, n, "the instance stays in use");
    }
    let error = plugin.execute(Call::new()).await.unwrap_err();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::NotFound, Some("p")));
    says(&error, &["`execute`", "`greet`", "`images.resize`"]);
    for (given, meant) in [("gret", "did you mean `greet`?"), ("resize", "did you mean `images.resize`?")] {
        let error = plugin.execute(method(given)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
        says(&error, &[meant, "Its methods are"]);
        let error = plugin.execute_stream(method(given)).await.err().unwrap();
        says(&error, &[meant]);
    }
    assert!(!plugin.execute(method("zzz")).await.unwrap_err().to_string().contains("did you mean"));
    let error = plugin.execute(method("of-u8\u{1b}[2J")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
    assert_eq!(plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn the_methods_and_their_schemas() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let methods = plugin.methods().await.unwrap();
    let signatures: Vec<_> = methods.iter().map(|method| (&method.name, &method.signature)).collect();
    insta::assert_json_snapshot!("signatures", signatures);
    let whole = ["greet", "images.resize", "echo.of-tree"];
    let whole: Vec<_> = methods.iter().filter(|method| whole.contains(&method.name.as_str())).collect();
    insta::assert_json_snapshot!("schemas", whole);
}

#[tokio::test]
async fn values_fit_the_schemas_that_are_made_for_them() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let methods = plugin.methods().await.unwrap();
    for (name, value) in samples() {
        let method = methods.iter().find(|method| method.name == format!("echo.{name}")).unwrap();
        for (schema, value) in [
            (method.parameters.as_ref().unwrap(), json!({"value": value})),
            (method.returns.as_ref().unwrap(), if name.ends_with("result") { json!([value]) } else { value.clone() }),
        ] {
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
            let validator = jsonschema::draft202012::new(schema).unwrap();
            assert!(validator.is_valid(&value), "{name}: {value} is not valid under {schema}");
        }
        let validator = jsonschema::draft202012::new(method.parameters.as_ref().unwrap()).unwrap();
        assert!(
            !validator.is_valid(&json!({"value": {"no": "such"}})) && !validator.is_valid(&json!({"valeu": value}))
        );
    }
}

/// Values of each type that are returned unchanged.
fn samples() -> Vec<(&'static str, Value)> {
    let leaf = json!({"id": 9_007_199_254_740_992_u64, "label": null});
    vec![
        ("of-bool", json!(true)),
        ("of-s8", json!(-128)),
        ("of-u8", json!(255)),
        ("of-s16", json!(-32768)),
        ("of-u16", json!(65535)),
        ("of-s32", json!(-2_147_483_648_i64)),
        ("of-u32", json!(4_294_967_295_u32)),
        ("of-s64", json!(-9_007_199_254_740_992_i64)),
        ("of-s64", json!("-9223372036854775808")),
        ("of-u64", json!(9_007_199_254_740_992_u64)),
        ("of-u64", json!("18446744073709551615")),
        ("of-f32", json!(0.1)),
        ("of-f32", json!("NaN")),
        ("of-f64", json!(1e308)),
        ("of-f64", json!("Infinity")),
        ("of-f64", json!("-Infinity")),
        ("of-char", json!("🙂")),
        ("of-string", json!("a\u{0}\u{1f642}b")),
        ("of-bytes", json!("")),
        ("of-bytes", json!("YWJj")),
        ("of-list", json!(["a", "", "b"])),
        ("of-tuple", json!([1, "x", false])),
        ("of-record", leaf.clone()),
        ("of-record", json!({"id": 0, "label": "l"})),
        ("of-variant", json!("nothing")),
        ("of-variant", json!({"circle": 2.5})),
        ("of-variant", json!({"polygon": [[0.0, 1.5], [-3.25, 1e10]]})),
        ("of-enum", json!("dark-blue")),
        ("of-option", json!(null)),
        ("of-option", json!("some")),
        ("of-nested-option", json!(null)),
        ("of-nested-option", json!({"some": null})),
        ("of-nested-option", json!({"some": 7})),
        ("of-flags", json!([])),
        ("of-flags", json!(["read", "append"])),
        (
            "of-tree",
            json!({
                "leaves": [leaf, {"id": 1, "label": "x"}],
                "shape": {"circle": "NaN"},
                "access": ["write"],
                "colour": "red",
                "either": {"err": "no"},
                "deep": {"some": {"some": 3}},
                "data": ["AAE=", ""],
            }),
        ),
    ]
}

#[tokio::test]
async fn every_type_there_and_back() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    for (name, value) in samples() {
        assert_eq!(echoed(plugin, name, value.clone()).await.unwrap(), value, "{name}");
    }
    for value in [json!({"ok": 1}), json!({"err": "x"})] {
        assert_eq!(echoed(plugin, "of-result", value.clone()).await.unwrap(), json!([value]));
    }
    for value in [json!({"ok": null}), json!({"err": null})] {
        assert_eq!(echoed(plugin, "of-bare-result", value.clone()).await.unwrap(), json!([value]));
    }
    // Values that can be written in several ways.
    for (name, value, expected) in [
        ("of-u8", json!(3.0), json!(3)),
        ("of-u64", json!(u64::MAX), json!("18446744073709551615")),
        ("of-u64", json!("7"), json!(7)),
        ("of-s64", json!(i64::MIN), json!("-9223372036854775808")),
        ("of-f64", json!(3), json!(3.0)),
        ("of-bytes", json!("YQ"), json!("YQ==")),
        ("of-bytes", json!([97, 98]), json!("YWI=")),
        ("of-record", json!({"id": 1}), json!({"id": 1, "label": null})),
        ("of-flags", json!(["append", "read", "read"]), json!(["read", "append"])),
    ] {
        assert_eq!(echoed(plugin, name, value.clone()).await.unwrap(), expected, "{name} {value}");
    }
}

#[tokio::test]
async fn a_wrong_argument_is_told_with_its_place_its_type_and_its_value() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let leaf = |id: Value| {
        json!({"value": {
            "leaves": [{"id": 1}, {"id": id}], "shape": "nothing", "access": [], "colour": "red", "either": {"err": ""},
            "data": [],
        }})
    };
    let wrong: Vec<(&str, Value, &[&str])> = vec![
        ("of-tree", leaf(json!(-1)), &["/value/leaves/1/id", "u64", "-1"]),
        ("of-tree", leaf(json!("18446744073709551616")), &["/value/leaves/1/id", "18446744073709551615"]),
        ("of-u8", json!({"value": 256}), &["/value", "256", "u8", "from 0 to 255"]),
        ("of-u8", json!({"value": 1.5}), &["/value", "1.5", "u8", "whole number"]),
        ("of-u8", json!({"value": "1"}), &["/value", "\"1\"", "u8"]),
        ("of-u64", json!({"value": 1e19}), &["/value", "u64"]),
        ("of-f32", json!({"value": 1e39}), &["/value", "f32", "out of range"]),
        ("of-f64", json!({"value": "nan"}), &["/value", "f64", "\"NaN\""]),
        ("of-char", json!({"value": "ab"}), &["/value", "char", "one character"]),
        ("of-char", json!({"value": ""}), &["/value", "char"]),
        ("of-bytes", json!({"value": "a"}), &["/value", "base64"]),
        ("of-bytes", json!({"value": [1, 256]}), &["/value/1", "256", "u8"]),
        ("of-bytes", json!({"value": {"$blob": 0}}), &["/value", "list<u8>"]),
        ("of-tuple", json!({"value": [1, "x"]}), &["/value", "2 items", "tuple<u8, string, bool> has 3"]),
        ("of-record", json!({"value": {"id": 1, "\u{1b}": 2}}), &["/value", "field `\\u{1b}`", "`id`, `label`"]),
        ("of-record", json!({"value": {}}), &["/value", "no field `id`", "u64"]),
        ("of-variant", json!({"value": "circle"}), &["/value", "`circle` without its value", "f64"]),
        ("of-variant", json!({"value": {"nothing": 1}}), &["/value", "`nothing`", "it has none"]),
        ("of-variant", json!({"value": {"square": 1}}), &["/value", "`square`", "`circle`"]),
        ("of-variant", json!({"value": {}}), &["/value", "variant"]),
        ("of-enum", json!({"value": "blue"}), &["/value", "`blue`", "`dark-blue`"]),
        ("of-flags", json!({"value": ["read", "run"]}), &["/value", "`run`", "`append`"]),
        ("of-flags", json!({"value": "read"}), &["/value", "flags"]),
        ("of-nested-option", json!({"value": 7}), &["/value", "{\"some\": …}"]),
        ("of-result", json!({"value": {"ok": 1, "err": ""}}), &["/value", "{\"ok\": …} or {\"err\": …}"]),
        ("of-bare-result", json!({"value": {"ok": 1}}), &["`ok`", "null"]),
        ("of-string", json!({"value": null}), &["/value", "null", "string"]),
        ("of-string", json!({}), &["`value` is missing", "`echo.of-string` is func(value: string) -> string"]),
        ("of-string", json!({"value": "", "vlaue": 1}), &["no argument `vlaue`", "func(value: string)"]),
    ];
    for (name, arguments, words) in wrong {
        let call = Call::new().method(format!("echo.{name}")).named_from(arguments.clone().into());
        // A blob that is missing is found when the call is made.
        let Ok(call) = call else { continue };
        let error = plugin.execute(call).await.expect_err(&arguments.to_string());
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{arguments}: {error}");
        says(&error, words);
    }
    let error = plugin.execute(method("greet").arg("a").arg("b").arg("c")).await.unwrap_err();
    says(&error, &["3 positional arguments", "takes 2"]);
    let error = plugin.execute(method("greet").arg("a").named("name", "b")).await.unwrap_err();
    says(&error, &["`name` is given both by position and by name"]);
    let error = plugin.execute(method("echo.of-list").arg(json!([1]))).await.unwrap_err();
    says(&error, &["/0/0", "string"]);
    assert_eq!(plugin.stats().await.unwrap().restarts, 0, "none of them reached the guest");
}

#[tokio::test]
async fn bytes_are_base64_while_they_are_few_and_blobs_when_they_are_many() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let size = |width: u32| json!({"width": width, "height": 100});
    let job = |width| {
        method("images.resize")
            .named("size", size(width))
            .named("background", "transparent")
            .named("changes", json!(["flip"]))
    };
    let small = plugin.execute(job(2).named("image", "QUJD")).await.unwrap();
    assert!(small.blobs.is_empty());
    assert_eq!(small.json.as_str().unwrap().len(), 268);

    let image = loaded.exchange.write(&vec![b'x'; 300_000], "image/png").unwrap();
    let large = plugin.execute(job(1000).blob("image", image.clone())).await.unwrap();
    let blob = large.blob(&large.json).unwrap();
    assert_eq!((blob.media_type(), blob.size()), ("application/octet-stream", 100_000));
    assert_eq!(bytes_of(blob), vec![b'x'; 100_000]);

    // Passed from one call to the next, as in a pipeline; and a caller's own file.
    let again = plugin.execute(job(1).named_from(Payload { json: json!({"image": {"$blob": 0}}), ..large }).unwrap());
    assert_eq!(again.await.unwrap().json.as_str().unwrap(), base64_of(&[b'x'; 100]));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.png");
    std::fs::write(&path, b"yz").unwrap();
    let named = plugin.execute(job(1).blob("image", Blob::by_reference(&path, None).unwrap())).await.unwrap();
    assert_eq!(named.json.as_str().unwrap(), base64_of(&[b'y'; 100]));
    std::fs::remove_file(&path).unwrap();

    let lists = plugin.execute(method("wrong.lists").arg(3).arg(20_000)).await.unwrap();
    assert_eq!(lists.json, json!([{"$blob": 0}, {"$blob": 1}, {"$blob": 2}]));
    assert!(lists.blobs.iter().all(|blob| bytes_of(blob) == vec![7; 20_000]));
    drop((lists, image));
    plugin.cleanup().await.unwrap();
    assert_eq!(loaded.exchange.usage().blobs, 0, "nothing holds on to a blob");
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn an_err_of_a_function_is_the_plugins_own_failure() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let resize = |width: u32| {
        method("images.resize").named_from(
            json!({"image": "", "size": {"width": width, "height": 9999}, "background": {"grey": 1}, "changes": ["blur"],
                   "fit": "stretch"})
            .into(),
        )
    };
    for (call, kind, message) in [
        (method("wrong.with-text").arg("no luck"), "", "no luck"),
        (method("wrong.with-reason").arg("bored"), "bored", ""),
        (method("wrong.with-record").arg(3), "", r#"[3,"YWJj"]"#),
        (method("wrong.with-nothing"), "", "the function returned an error without a description"),
        (resize(9999).unwrap(), "too-large", "1048576"),
        (resize(1).unwrap(), "other", "stretching and blurring are too much"),
    ] {
        let error = plugin.execute(call).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PluginFailed, "{error}");
        let failure = error.failure().unwrap();
        assert_eq!((failure.kind.as_str(), failure.message.as_str()), (kind, message));
    }
    assert_eq!(plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn calls_end_in_time_and_traps_end_one_instance() {
    let loaded = load("typed", json!({"limits": {"call_ms": 200}})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let error = plugin.execute(method("wrong.spin")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    says(&error, &["limits.call_ms"]);

    // These tests are not about time.
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let call = method("wrong.spin");
    let handle = call.handle().clone();
    let (result, ()) = tokio::join!(plugin.execute(call), async { handle.cancel() });
    assert_eq!(result.unwrap_err().code(), ErrorCode::Cancelled);
    let error = plugin.execute(method("wrong.trap")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Crashed);
    says(&error, &["unreachable"]);
    assert_eq!(plugin.execute(method("count")).await.unwrap().json, 1, "a fresh instance took over");
}

#[tokio::test]
async fn what_a_call_moves_is_held_to_its_limits() {
    let limits = json!({"limits": {"call_ms": 60_000, "payload_mb": 1, "memory_mb": 20, "blob_mb": 1, "blobs": 8}});
    let loaded = load("typed", limits).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let restarts = plugin.stats().await.unwrap().restarts;
    let error = plugin.execute(method("echo.of-string").arg("x".repeat(2 << 20))).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["limits.payload_mb"]);
    let error = plugin.execute(method("wrong.bytes").arg(1_200_000)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["limits.blob_mb"]);
    let error = plugin.execute(method("wrong.lists").arg(9).arg(20_000)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["9 lists of bytes", "limits.blobs"]);
    let error = plugin.execute(method("wrong.lists").arg(1000).arg(1000)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["limits.payload_mb"]);
    let large = loaded.exchange.write(&vec![0; 22 << 20], "image/png").unwrap();
    let error = plugin.execute(method("echo.of-bytes").blob("value", large)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["the arguments take more than 21 MiB", "limits.payload_mb", "limits.memory_mb"]);
    assert_eq!(plugin.stats().await.unwrap().restarts, restarts, "the instance lives through all of these");

    let error = plugin.execute(method("wrong.bytes").arg(200_000_000)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["20 MiB", "limits.memory_mb"]);
}

#[tokio::test]
async fn a_stream_gives_the_one_result() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let stream = plugin.execute_stream(method("greet").arg("you").timeout(Duration::from_secs(60))).await.unwrap();
    let items: Vec<Value> = stream.map(|item| item.unwrap().json).collect().await;
    assert_eq!(items, ["hello you"]);
    let error = plugin.execute_stream(method("wrong.with-text").arg("no")).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::PluginFailed);
    drop(plugin.execute_stream(method("count")).await.unwrap());
    assert_eq!(plugin.execute(method("count")).await.unwrap().json, 2);
}

#[tokio::test]
async fn there_is_nothing_to_configure() {
    let loaded = typed().await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    assert_eq!(plugin.config_schema().await.unwrap()["additionalProperties"], false);
    plugin.initialize(json!({})).await.unwrap();
    assert_eq!(plugin.current_config().await.unwrap(), json!({}));
    let error = plugin.initialize(json!({"a": 1})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    plugin.cleanup().await.unwrap();
}

/// Loads a component in the text format.
async fn text(component: &str) -> common::Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    std::fs::write(&path, wat::parse_str(component).unwrap()).unwrap();
    common::try_load(common::engine(), &path, json!({})).await.unwrap()
}

#[tokio::test]
async fn maps_are_objects_or_pairs() {
    // Returns the pointer and the length that it gets.
    let loaded = text(
        r#"(component
        (core module $m
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 64))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                (global.get $next)
                (global.set $next (i32.add (global.get $next) (local.get 3))))
            (func (export "echo") (param i32 i32) (result i32)
                (i32.store (i32.const 8) (local.get 0))
                (i32.store (i32.const 12) (local.get 1))
                (i32.const 8)))
        (core instance $i (instantiate $m))
        (type $named (map string u16))
        (type $numbered (map u64 (option string)))
        (func (export "named") (param "value" $named) (result $named)
            (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
        (func (export "numbered") (param "value" $numbered) (result $numbered)
            (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#,
    )
    .await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    for (name, value) in [
        ("named", json!({"a": 1, "": 65535, "$$blob": 2})),
        ("named", json!({})),
        ("numbered", json!([[7, "x"], ["18446744073709551615", null]])),
    ] {
        let result = plugin.execute(Call::new().method(name).arg(value.clone())).await.unwrap();
        assert_eq!(result.json, value, "{name}");
    }
    for (name, value, place) in [
        ("named", json!({"a~/b": -1}), "/0/a~0~1b"),
        ("named", json!([["a", 1]]), "an object"),
        ("numbered", json!([[1, "x"], [2]]), "/0/1 "),
        ("numbered", json!([[1, "x"], ["no", "x"]]), "/0/1/0"),
    ] {
        let error = plugin.execute(Call::new().method(name).arg(value)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{error}");
        says(&error, &[place]);
    }
}

#[tokio::test]
async fn strings_cross_in_every_encoding() {
    for encoding in ["utf8", "utf16", "latin1+utf16"] {
        // Returns the pointer and the length that it gets; a reallocation grows or shrinks in place.
        let loaded = text(&format!(
            r#"(component
            (core module $m
                (memory (export "memory") 1)
                (global $next (mut i32) (i32.const 64))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (if (i32.eqz (local.get 0)) (then
                        (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                        (local.set 0 (global.get $next))))
                    (global.set $next (i32.add (local.get 0) (local.get 3)))
                    (local.get 0))
                (func (export "echo") (param i32 i32) (result i32)
                    (i32.store (i32.const 8) (local.get 0))
                    (i32.store (i32.const 12) (local.get 1))
                    (i32.const 8)))
            (core instance $i (instantiate $m))
            (type $list (list string))
            (func (export "one") (param "value" string) (result string)
                (canon lift (core func $i "echo") (memory (core memory $i "memory"))
                    (realloc (core func $i "realloc")) string-encoding={encoding}))
            (func (export "many") (param "value" $list) (result $list)
                (canon lift (core func $i "echo") (memory (core memory $i "memory"))
                    (realloc (core func $i "realloc")) string-encoding={encoding})))"#
        ))
        .await;
        let texts = ["", "abc", "d\u{e9}j\u{e0}", "\u{1f642} x", "a\u{e9}\u{1f642}", "\u{0}\u{ffff}"];
        for text in texts {
            let result = loaded.plugin.execute(Call::new().method("one").arg(text)).await.unwrap();
            assert_eq!(result.json, text, "{encoding}");
        }
        let result = loaded.plugin.execute(Call::new().method("many").arg(json!(texts))).await.unwrap();
        assert_eq!(result.json, json!(texts), "{encoding}");
    }
}

/// An interface that exports functions of these names, each with a different result.
fn interface(name: &str, functions: &[(&str, u32)]) -> String {
    let mut text = String::new();
    let mut exports = String::new();
    let id: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    for (function, result) in functions {
        text += &format!(
            r#"(core module $m{id}{function} (func (export "f") (result i32) (i32.const {result})))
            (core instance $i{id}{function} (instantiate $m{id}{function}))
            (func $f{id}{function} (result u32) (canon lift (core func $i{id}{function} "f")))"#
        );
        exports += &format!(r#"(export "{function}" (func $f{id}{function}))"#);
    }
    format!(r#"{text} (instance $n{id} {exports}) (export "{name}" (instance $n{id}))"#)
}

#[tokio::test]
async fn the_default_method_is_execute_or_the_only_function() {
    let call = async |parts: &[String], name: &'static str| {
        let loaded = text(&format!("(component {})", parts.concat())).await;
        loaded.plugin.execute(method(name)).await.map(|result| result.json)
    };
    let only = [interface("a:b/c@1.0.0", &[("f", 1)])];
    assert_eq!(call(&only, "execute").await.unwrap(), 1);
    assert_eq!(call(&only, "c.f").await.unwrap(), 1);
    let named = [interface("a:b/c", &[("f", 1), ("execute", 2)]), interface("a:b/d", &[("g", 3)])];
    assert_eq!(call(&named, "execute").await.unwrap(), 2);
    let twice = [interface("a:b/c", &[("execute", 1)]), interface("a:b/d", &[("execute", 2)])];
    assert_eq!(call(&twice, "execute").await.unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(call(&twice, "d.execute").await.unwrap(), 2);

    // Interfaces with the same short name are distinguished by their full names.
    let alike = [interface("a:b/c@1.0.0", &[("f", 1)]), interface("x:y/c", &[("f", 2), ("g", 3)])];
    let error = call(&alike, "c.f").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    says(&error, &["`a:b/c@1.0.0#f`, `x:y/c#f`, `c.g`"]);
    assert_eq!(call(&alike, "x:y/c#f").await.unwrap(), 2);
    assert_eq!(call(&alike, "a:b/c@1.0.0#f").await.unwrap(), 1);
    assert_eq!(call(&alike, "c.g").await.unwrap(), 3);
}

#[tokio::test]
async fn a_command_is_a_plugin_too() {
    // Looks like a program's `main`.
    let command = r#"(component
        (import "wasi:cli/environment@0.2.0" (instance (export "get-arguments" (func (result (list string))))))
        (core module $m (func (export "run") (result i32) (i32.const 1)))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $n (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $n)))"#;
    let loaded = text(command).await;
    let error = loaded.plugin.execute(Call::new()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PluginFailed);
    assert_eq!(loaded.plugin.methods().await.unwrap()[0].name, "execute");
}

/// One function that can be called, one that takes a resource, and one that componentize-qjs exports for itself.
const MIXED: &str = r#"(component
    (type $thing (resource (rep i32)))
    (export $exported "thing" (type $thing))
    (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 8)
        (func (export "init") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 16)
        (func (export "use") (param i32))
        (func (export "seven") (result i32) i32.const 7))
    (core instance $i (instantiate $m))
    (func (export "init")
        (param "shim" string) (param "script" string) (param "entry-path" (option string)) (param "disable-gc" bool)
        (result (result (error string)))
        (canon lift (core func $i "init") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (func (export "use-it") (param "it" (own $exported)) (canon lift (core func $i "use")))
    (func (export "seven") (result u32) (canon lift (core func $i "seven"))))"#;

#[tokio::test]
async fn what_cannot_be_called_refuses_itself_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    std::fs::write(&path, wat::parse_str(MIXED).unwrap()).unwrap();
    let loaded = common::try_load(common::engine(), &path, json!({})).await.unwrap();
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let methods = plugin.methods().await.unwrap();
    let listed: Vec<_> = methods.iter().map(|method| (method.name.as_str(), method.not_callable.as_deref())).collect();
    assert_eq!(
        listed,
        [("execute", None), ("seven", None), ("use-it", Some("it has a resource among its parameters or results"))]
    );
    // A call without a method runs the only one.
    for call in [Call::new(), method("seven")] {
        assert_eq!(plugin.execute(call).await.unwrap().json, 7);
    }
    let error = plugin.execute(method("use-it").arg(1)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    says(&error, &["`use-it` cannot be called", "a resource"]);
    let error = plugin.execute(method("init")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert_eq!(plugin.execute(Call::new()).await.unwrap().json, 7, "the instance stays in use");
}
