//! Large data in arguments and results of Python plugins: passed as files without a copy, anywhere in the JSON.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bivium::{Blob, Call, ErrorCode, Payload, PluginManager};
use bivium_tests::root;
use serde_json::{Value, json};

/// A manager of `twin-wasm` and of one class of `tests/python/plugins`.
fn manager(own: &Path, module: &str, class: &str, more: Value) -> PluginManager {
    let source = root().join("tests/python/plugins");
    let mut manifest = json!({"name": "sample", "version": "1.0.0", "module": module, "class": class, "source": source,
        "env_vars": {"PYTHONDONTWRITEBYTECODE": "1"}});
    manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    std::fs::write(own.join("sample.json"), manifest.to_string()).unwrap();
    PluginManager::builder()
        .manifests(own)
        .manifests(root().join("tests/guests"))
        .data_dir(own.join("data"))
        .build()
        .unwrap()
}

/// Long enough for an environment to be made.
fn call(method: &'static str) -> Call {
    Call::new().method(method).timeout(Duration::from_secs(300))
}

async fn ended(manager: PluginManager) {
    for report in manager.unload_all().await {
        report.result.unwrap();
    }
    assert_eq!(manager.exchange().usage().blobs, 0, "blobs are left");
}

fn inode(blob: &Blob) -> u64 {
    blob.path().metadata().unwrap().ino()
}

/// The memory of the numpy view is the file that the component wrote, according to the kernel.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_components_file_to_a_numpy_view_nothing_is_copied() {
    let own = tempfile::tempdir().unwrap();
    // The same environment as that of the example `embed`.
    let embed = std::fs::read_to_string(root().join("examples/plugins/embed/embed.json")).unwrap();
    let requirements = serde_json::from_str::<Value>(&embed).unwrap()["requirements"].clone();
    let manager = manager(own.path(), "arrays", "Numpy", json!({"requirements": requirements}));
    for name in ["twin-wasm", "sample"] {
        manager.load(name).await.unwrap();
    }
    let text = "x".repeat(1 << 20);
    let given = manager.exchange().write(text.as_bytes(), "text/plain").unwrap();
    let upper = manager.execute("twin-wasm", call("upper").blob("data", given)).await.unwrap();
    let made = upper.blob(&upper.json["data"]).unwrap().clone();
    let view = manager.execute("sample", call("view").blob("blob", made.clone())).await.unwrap().json;
    assert_eq!(view["inode"], inode(&made));
    assert_eq!((&view["shape"], &view["first"]), (&json!([1 << 20]), &json!(u32::from(b'X'))));
    assert_eq!(view["writeable"], false);

    // The other direction: an array becomes a file, which a component reads and which Python maps again.
    let array = manager.execute("sample", call("make").arg("table")).await.unwrap();
    let table = array.blob(&array.json).unwrap().clone();
    assert_eq!(table.media_type(), "application/x-npy");
    let size = manager.execute("twin-wasm", call("size").blob("data", table.clone())).await.unwrap();
    assert_eq!(size.json["size"], table.size());
    let view = manager.execute("sample", call("view").blob("blob", table.clone())).await.unwrap().json;
    assert_eq!((&view["inode"], &view["shape"], &view["sum"]), (&json!(inode(&table)), &json!([2, 3]), &json!(15.0)));
    drop((upper, made, array, table));
    ended(manager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_travel_at_any_depth_both_ways() {
    let own = tempfile::tempdir().unwrap();
    let manager = manager(own.path(), "sample", "Echo", json!({}));
    manager.load("sample").await.unwrap();
    let blob = |text: &str| manager.exchange().write(text.as_bytes(), "text/plain").unwrap();
    let json = json!({"value": {"list": [{"$blob": 1}, [{"$blob": 0}]], "object": {"deep": {"$blob": 1}}},
        "more": [{"$blob": 0}]});
    let given = Payload { json, blobs: vec![blob("one"), blob("two")] };
    let result = manager.execute("sample", call("sizes").named_from(given).unwrap()).await.unwrap();
    assert_eq!(result.json, json!({"list": ["two", ["one"]], "object": {"deep": "two"}, "more": ["one"]}));

    let result = manager.execute("sample", call("make").arg("nested")).await.unwrap();
    let text = |value: &Value| std::fs::read_to_string(result.blob(value).unwrap().path()).unwrap();
    assert_eq!(text(&result.json["list"][0]), "one");
    assert_eq!(text(&result.json["list"][1][0]), "a");
    assert_eq!(text(&result.json["data"]["tuple"][0]), "one");
    assert_eq!(text(&result.json["data"]["tuple"][1]["inner"]), "three");
    drop(result);
    ended(manager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_temporary_files_are_in_the_exchange_and_deleted_with_it() {
    let own = tempfile::tempdir().unwrap();
    let manager = manager(own.path(), "sample", "Echo", json!({}));
    manager.load("sample").await.unwrap();
    let places = manager.execute("sample", call("temporary")).await.unwrap().json;
    let places: Vec<PathBuf> =
        places.as_array().unwrap().iter().map(|at| at.as_str().unwrap().trim_end().into()).collect();
    assert!(
        places.len() == 4 && places.iter().all(|place| place.exists() && place.starts_with(&places[0])),
        "{places:?}"
    );
    ended(manager).await;
    assert!(!places.iter().any(|place| place.exists()), "{places:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_workers_own_files_are_accepted_from_it() {
    let own = tempfile::tempdir().unwrap();
    let manager = manager(own.path(), "sample", "Echo", json!({}));
    manager.load("sample").await.unwrap();
    for (kind, code) in [
        ("outside", ErrorCode::Denied),
        ("link", ErrorCode::Denied),
        ("missing", ErrorCode::PluginFailed),
        ("no_utf8", ErrorCode::PluginFailed),
        ("full", ErrorCode::ResourceExhausted),
    ] {
        let error = manager.execute("sample", call("make").arg(kind)).await.unwrap_err();
        assert_eq!(error.code(), code, "{kind}: {error}");
    }
    // A file from the arguments that is handed back is the caller's own file, without a copy, also if it is a pathlib.Path.
    let file = own.path().join("mine.txt");
    std::fs::write(&file, "mine").unwrap();
    let lent = Blob::by_reference(&file, None).unwrap();
    let back = manager.execute("sample", call("hand_back").blob("blob", lent)).await.unwrap();
    for key in ["same", "as_path"] {
        assert_eq!(back.blob(&back.json[key]).unwrap().path(), file.canonicalize().unwrap());
    }
    drop(back);
    ended(manager).await;
    assert!(file.exists());
}
