//! The host's messages, recorded in the worker as they arrive.

use std::path::Path;

use bivium_interface::{Blob, Call, PluginInterface as _};
use futures_util::StreamExt as _;
use serde_json::json;

use crate::common::{eventually, load_with};
use crate::shown::Shown;

#[tokio::test]
async fn requests() {
    let directory = tempfile::tempdir().unwrap();
    let (record, given) = (directory.path().join("record"), directory.path().join("given.wav"));
    std::fs::write(&given, "given").unwrap();
    let env = json!({"PYTHONDONTWRITEBYTECODE": "1", "TOLD": record});
    let fixture = load_with("Told", json!({"module": "told", "env_vars": env})).await;
    let plugin = &fixture.plugin;
    plugin.initialize(json!({"depth": 2})).await.unwrap();
    plugin.execute(Call::new()).await.unwrap();
    let call = Call::new().arg("hello").named("times", 2).envelope("key", "value").timeout(crate::raw::LONG);
    plugin.execute(call).await.unwrap();
    let blob = Blob::by_reference(&given, None).unwrap();
    let call = Call::new().method("files").blob("blob", blob).named("more", json!({"$blob": 0}));
    plugin.execute(call).await.unwrap();
    plugin.execute(Call::new().arg("x".repeat(300_000))).await.unwrap();
    let call = Call::new().method("half");
    let _listener = call.handle().progress();
    plugin.execute(call).await.unwrap();
    let stream = plugin.execute_stream(Call::new().arg("one two")).await.unwrap();
    assert_eq!(stream.count().await, 2);
    plugin.methods().await.unwrap();
    plugin.config_schema().await.unwrap();
    plugin.current_config().await.unwrap();
    let call = Call::new().method("wait");
    let handle = call.handle().clone();
    let cancelled = async {
        assert!(eventually(60, || std::fs::read_to_string(&record).unwrap().contains("\\\"wait\\\"")).await);
        handle.cancel();
    };
    let (ended, ()) = tokio::join!(plugin.execute(call), cancelled);
    ended.unwrap_err();
    plugin.cleanup().await.unwrap();
    insta::assert_snapshot!("requests", shown(&record, directory.path()));
}

/// All requests in order. The host asks for `/health` on each new connection: it is shown once.
fn shown(record: &Path, directory: &Path) -> String {
    let mut shown = Shown::new(directory);
    let mut knows_health = false;
    for line in std::fs::read_to_string(record).unwrap().lines() {
        let (verb, target, body): (String, String, String) = serde_json::from_str(line).unwrap();
        let title = match target.split_once("?call=") {
            Some((path, _)) => format!("{verb} {path}?call=[id]"),
            None => format!("{verb} {target}"),
        };
        let is_health = target == "/health";
        if !(is_health && knows_health) {
            match body.as_str() {
                "" => shown.title(&title),
                body => shown.json(&title, &serde_json::from_str(body).unwrap()),
            };
        }
        knows_health |= is_health;
    }
    shown.end()
}
