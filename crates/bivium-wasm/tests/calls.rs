//! A plugin that behaves well: calls, configuration, blobs, streams, logs and statistics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::io::Read;
use std::time::Duration;

use bivium_interface::{Blob, Call, ErrorCode, LogSource, PluginInterface, Progress};
use common::load;
use futures_util::StreamExt;
use serde_json::json;

#[tokio::test]
async fn a_call_and_its_configuration() {
    let loaded = load("echo", json!({})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({"greeting": "hello "})).await.unwrap();
    let call = Call::new().named("text", "world");
    let progress = call.handle().progress();
    let id = call.id();
    assert_eq!(plugin.execute(call).await.unwrap().json, json!({"text": "hello world"}));
    assert_eq!(*progress.borrow(), Progress::new(Some(0.5), "echoing"));
    assert_eq!(plugin.current_config().await.unwrap(), json!({"greeting": "hello "}));
    assert_eq!(plugin.config_schema().await.unwrap()["type"], "object");

    let record = loaded.log.tail(1).remove(0);
    assert_eq!((record.message.as_str(), record.source), ("echo of 5 bytes", LogSource::Log));
    assert_eq!((record.call, record.instance), (Some(id), 1));

    let error = plugin.initialize(json!({"greeting": "wrong"})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    let result = plugin.execute(Call::new().named("text", "again")).await.unwrap();
    assert_eq!(result.json, json!({"text": "hello again"}), "the previous configuration stays in force");
    plugin.cleanup().await.unwrap();
}

#[tokio::test]
async fn methods_by_name() {
    let loaded = load("echo", json!({})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({})).await.unwrap();
    let methods = plugin.methods().await.unwrap();
    assert_eq!(methods.iter().map(|method| method.name.as_str()).collect::<Vec<_>>(), ["execute", "reverse"]);
    let [execute, ..] = &methods[..] else { unreachable!() };
    assert!(!execute.description.is_empty(), "the component's own summary");
    assert_eq!(execute.returns.as_ref().unwrap()["properties"]["text"], json!({"type": "string"}));
    let reverse = methods[1].parameters.as_ref().unwrap();
    assert_eq!(reverse["properties"]["text"], json!({"type": "string"}));
    let parameters = execute.parameters.as_ref().expect("derived from its `Input`");
    assert_eq!(parameters["properties"]["text"]["type"], "string", "{parameters}");
    let error = plugin.execute(Call::new().named("txet", "abc")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.message().contains("there is no argument \"txet\"; it takes "), "{error}");
    let result = plugin.execute(Call::new().method("reverse").named("text", "abc")).await.unwrap();
    assert_eq!(result.json, json!({"text": "cba"}));
    let error = plugin.execute(Call::new().method("nonsense")).await.unwrap_err();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::NotFound, Some("p")));
    let error = plugin.execute(Call::new().named("text", 7)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
}

#[tokio::test]
async fn blobs_in_and_out() {
    let loaded = load("echo", json!({})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({})).await.unwrap();
    let text = "a blob of some length, longer than one read, ".repeat(50_000);
    let own = loaded.exchange.write(text.as_bytes(), "text/plain").unwrap();
    let result = plugin.execute(Call::new().blob("blob", own.clone())).await.unwrap();
    let blob = result.blob(&result.json["blob"]).unwrap();
    assert_eq!((blob.media_type(), blob.size()), ("text/plain", text.len() as u64));
    let mut read = String::new();
    blob.open().unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, text.to_uppercase());
    drop(result);

    // A caller's own file is read in another way.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.txt");
    std::fs::write(&path, "by reference").unwrap();
    let call = Call::new().blob("blob", Blob::by_reference(&path, None).unwrap());
    let result = plugin.execute(call).await.unwrap();
    let mut read = String::new();
    result.blobs[0].open().unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, "BY REFERENCE");

    drop((result, own));
    plugin.cleanup().await.unwrap();
    assert_eq!(loaded.exchange.usage().blobs, 0, "nothing holds on to a blob");
}

#[tokio::test]
async fn an_unknown_method_and_a_similar_one_that_exists() {
    let loaded = load("echo", json!({})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({})).await.unwrap();
    let known = plugin.methods().await.unwrap();
    let known = known.iter().map(|method| method.name.as_str()).find(|name| *name != Call::EXECUTE).unwrap();
    let wrong = format!("{known}e");
    let error = plugin.execute(Call::new().method(wrong.clone())).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    common::says(&error, &[&format!("did you mean `{known}`?")]);
    let error = plugin.execute_stream(Call::new().method(wrong)).await.err().unwrap();
    common::says(&error, &[&format!("did you mean `{known}`?")]);
    let error = plugin.execute(Call::new().method("zzz")).await.unwrap_err();
    assert_eq!((error.code(), error.help()), (ErrorCode::NotFound, None));
    assert_eq!(plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn a_stream() {
    let loaded = load("echo", json!({})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({})).await.unwrap();
    let call = Call::new().named("text", "x").named("times", 3);
    let items: Vec<_> = plugin.execute_stream(call).await.unwrap().map(|item| item.unwrap().json).collect().await;
    assert_eq!(items, [json!({"n": 0, "text": "x"}), json!({"n": 1, "text": "x"}), json!({"n": 2, "text": "x"})]);
    assert_eq!(plugin.execute(Call::new().named("text", "after")).await.unwrap().json["text"], "after");
    let stats = plugin.stats().await.unwrap();
    assert_eq!((stats.calls, stats.failed, stats.restarts), (2, 0, 0));
    assert_eq!(stats.instances[0].calls, 2);
    assert!(stats.memory_bytes() >= 64 << 10);
}

#[tokio::test]
async fn a_fresh_instance_for_each_call() {
    let loaded = load("echo", json!({"isolation": "call", "instances": {"max": 2}})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({"greeting": "hi "})).await.unwrap();
    for _ in 0..3 {
        let result = plugin.execute(Call::new().named("text", "x")).await.unwrap();
        assert_eq!(result.json["text"], "hi x");
    }
    let instances: Vec<u64> = loaded.log.tail(3).iter().map(|record| record.instance).collect();
    assert_eq!(instances, [1, 2, 3]);
}

#[tokio::test]
async fn many_calls_at_once_on_few_instances() {
    let loaded = load("echo", json!({"instances": {"max": 3}})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({})).await.unwrap();
    let calls =
        (0..100).map(|n| plugin.execute(Call::new().named("text", n.to_string()).timeout(Duration::from_secs(60))));
    for (n, result) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(result.unwrap().json["text"], n.to_string());
    }
    assert!(plugin.stats().await.unwrap().instances.len() <= 3);
}

#[tokio::test]
async fn arguments_over_the_limit() {
    let loaded = load("echo", json!({"limits": {"payload_mb": 1}})).await;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    plugin.initialize(json!({})).await.unwrap();
    let error = plugin.execute(Call::new().named("text", "x".repeat(2 << 20))).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    common::says(&error, &["limits.payload_mb", "blob"]);
    assert_eq!(plugin.stats().await.unwrap().restarts, 0);
}
