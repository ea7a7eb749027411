//! Which object of a module is the plugin: a class with arguments of its constructor, or a function.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]

mod common;

use bivium_interface::manifest::Forms;
use bivium_interface::{Call, ErrorCode, Manifest, PluginInterface};
use common::{Fixture, load_from, plugins};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

async fn load(more: Value) -> Fixture {
    let mut text = json!({"name": "made", "version": "1", "source": ".", "env_vars": {"PYTHONDONTWRITEBYTECODE": "1"}});
    text.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    load_from(Manifest::parse(&text.to_string(), &plugins().join("made.json")).unwrap().into()).await.unwrap()
}

async fn function(name: &str) -> Fixture {
    load(json!({"function": name})).await
}

fn text(text: &str) -> Call {
    Call::new().named("text", text)
}

#[tokio::test]
async fn the_constructor_gets_the_arguments_of_the_manifest_in_every_worker() {
    let class = json!({"module": "constructed", "class": "Configured"});
    let with = |arguments: Value| {
        let mut class = class.clone();
        class["init_args"] = arguments;
        class
    };
    let made = load(with(json!({"size": 3, "mode": "good"}))).await;
    let expected = json!({"size": 3, "names": [], "mode": "good"});
    assert_eq!(made.plugin.execute(Call::new()).await.unwrap().json, expected);
    common::kill(made.pids().await[0]);
    loop {
        match made.plugin.execute(Call::new()).await {
            Ok(payload) => break assert_eq!(payload.json, expected),
            Err(error) => assert_eq!(error.code(), ErrorCode::Crashed, "{error}"),
        }
    }
    for (arguments, part) in [
        (json!({}), "missing a required argument: 'size'"),
        (json!({"size": 1, "sise": 2}), "got an unexpected keyword argument 'sise'"),
    ] {
        let error = load(with(arguments)).await.plugin.execute(Call::new()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidManifest);
        assert!(error.message().contains("`init_args`") && error.message().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_function_is_execute_whatever_kind_it_is_of() {
    for name in ["constructed:count", "constructed:later"] {
        let made = function(name).await;
        assert_eq!(made.plugin.execute(text("a b")).await.unwrap().json, json!({"words": 2}), "{name}");
    }
    let pieces = function("constructed:pieces").await;
    let results: Vec<_> = pieces.plugin.execute_stream(text("a b")).await.unwrap().try_collect().await.unwrap();
    assert_eq!(results.iter().map(|result| &result.json).collect::<Vec<_>>(), ["a", "b"]);
    let method = function("constructed:Configured.parsed").await;
    assert_eq!(method.plugin.execute(text("a b")).await.unwrap().json, json!(["a", "b"]));
    let placed = function("constructed:placed").await;
    let call = Call::new().named("a", 1).named("b", 5).named("c", 4);
    assert_eq!(placed.plugin.execute(call).await.unwrap().json, json!([1, 5, [], 4, {}]));
    let native = function("math:gcd").await;
    assert_eq!(native.plugin.execute(Call::new().arg(12).arg(8)).await.unwrap().json, 4);
    let error = native.plugin.execute(Call::new().named("a", 12)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    let methods = function("constructed:count").await.plugin.methods().await.unwrap();
    let [execute] = methods.as_slice() else { panic!("{methods:?}") };
    assert_eq!((execute.name.as_str(), execute.description.as_str()), ("execute", "Counts words."));
    assert_eq!(execute.signature, "(text: str, times: int = 1)");
}

#[tokio::test]
async fn names_that_are_not_functions_and_unexpected_configurations_are_errors() {
    for (name, part) in [
        ("constructed:missing", "the module 'constructed' has no function 'missing'; it has: count, "),
        ("constructed:Configured", "constructed:Configured is a class, not a function"),
        ("no_such_module:f", "there is no module 'no_such_module'"),
    ] {
        let error = function(name).await.plugin.execute(Call::new()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidManifest);
        assert!(error.message().contains(part), "{error}");
    }
    let class = json!({"module": "constructed", "class": "Configured", "init_args": {"size": 1}});
    for (more, part) in [
        (json!({"function": "constructed:count"}), "a function takes no configuration, and 'mode' is set"),
        (class, "the class Configured takes no configuration, as it has no `initialize`, and 'mode' is set"),
    ] {
        let made = load(more).await;
        let error = made.plugin.initialize(json!({"mode": "fast"})).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().contains(part), "{error}");
        made.plugin.initialize(json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn a_class_that_the_module_imports_from_elsewhere_is_found() {
    let made = load(json!({"module": "reexported", "class": "Echo"})).await;
    assert_eq!(made.plugin.execute(Call::new().method("add").arg(1)).await.unwrap().json, 2);
}

#[tokio::test]
async fn an_object_without_a_manifest_is_a_class_or_a_function() {
    for (name, call, expected) in
        [("count", text("a b"), json!({"words": 2})), ("Placed", Call::new().arg(1), json!([1, 2]))]
    {
        let manifest = Manifest::of_python(&plugins().join("constructed.py"), name).unwrap();
        let made = load_from(manifest.into()).await.unwrap();
        assert_eq!(made.plugin.execute(call).await.unwrap().json, expected);
    }
    let made = load_from(Manifest::of_file("shlex:quote".as_ref(), Forms::plain()).unwrap().into()).await.unwrap();
    assert_eq!(made.plugin.execute(Call::new().named("s", "a b")).await.unwrap().json, "'a b'");
    let manifest = Manifest::of_python(&plugins().join("constructed.py"), "missing").unwrap();
    let error = load_from(manifest.into()).await.unwrap().plugin.execute(Call::new()).await.unwrap_err();
    assert!(error.message().contains("has no class or function 'missing'; it has: Configured, "), "{error}");
}
