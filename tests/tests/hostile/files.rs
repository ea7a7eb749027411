//! A component with few grants tries to get more: other files, more rights to the same files, the environment. Every single
//! operation is tried in `crates/bivium-wasm/tests/permissions.rs`.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use bivium::{Call, ErrorCode, Exchange};
use serde_json::{Value, json};

use crate::scene::{Scene, guest};

/// Two directories that are granted, one that is not, and links from the first into the last.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for name in ["data", "read", "secret"] {
            std::fs::create_dir(place.path(name)).unwrap();
            std::fs::write(place.path(name).join("note.txt"), name).unwrap();
        }
        symlink("../secret/note.txt", place.path("data/link")).unwrap();
        symlink(place.path("secret"), place.path("data/directory")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn scene(&self, limits: Value) -> Scene {
        let permissions = json!({"filesystem": [
            {"path": self.path("data"), "guest": "/data", "mode": "write"},
            {"path": self.path("read"), "guest": "/read", "mode": "read"},
        ], "env": ["CARGO_PKG_NAME"]});
        Scene::of(&guest("probe"), json!({"permissions": permissions, "limits": limits})).await
    }

    fn is_untouched(&self) -> bool {
        ["data", "read", "secret"].iter().all(|name| {
            let note = std::fs::read_to_string(self.path(name).join("note.txt"));
            note.is_ok_and(|note| note == *name)
        })
    }
}

fn call(method: &'static str, arguments: Value) -> Call {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    arguments.into_iter().fold(Call::new().method(method), |call, (name, value)| call.named(name, value))
}

/// Reading and writing by this path in `/data` is denied.
async fn leads_nowhere(path: &str) {
    let place = Place::new();
    let scene = place.scene(json!({})).await;
    for method in ["read", "write"] {
        let arguments = json!({"dir": "/data", "path": path, "text": "x"});
        scene.fails(call(method, arguments), ErrorCode::Denied, &["/data", "permissions.filesystem"]).await;
    }
    assert!(place.is_untouched());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_symlink_to_a_file() {
    leads_nowhere("link").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_symlink_to_a_directory() {
    leads_nowhere("directory/note.txt").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_dots() {
    leads_nowhere("../secret/note.txt").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_absolute_path() {
    leads_nowhere("/etc/passwd").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_hard_link_and_rename_across_permissions() {
    let place = Place::new();
    let scene = place.scene(json!({})).await;
    for method in ["link", "rename"] {
        for (from, to) in [("/read", "/data"), ("/data", "/read")] {
            let arguments = json!({"dir": from, "path": "note.txt", "to-dir": to, "to": "taken.txt"});
            scene.fails(call(method, arguments), ErrorCode::Denied, &["/read", "permissions.filesystem"]).await;
        }
    }
    assert!(place.is_untouched());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_write_to_a_read_only_file() {
    let place = Place::new();
    let scene = place.scene(json!({})).await;
    for method in ["write", "truncate", "set-size", "unlink", "write-unasked"] {
        let arguments = json!({"dir": "/read", "path": "note.txt", "text": "x"});
        scene.fails(call(method, arguments), ErrorCode::Denied, &["/read", r#""mode": "write""#]).await;
    }
    assert!(place.is_untouched());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_environment_probe() {
    let scene = Place::new().scene(json!({})).await;
    let environment = scene.attack(scene.execute(call("environment", json!({})))).await.unwrap();
    assert_eq!(environment.json, json!([["CARGO_PKG_NAME", "bivium-tests"]]));
    let scene = Scene::of(&guest("probe"), json!({})).await;
    let environment = scene.attack(scene.execute(call("environment", json!({})))).await.unwrap();
    assert_eq!(environment.json, json!([]));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_a_granted_root_shows_no_exchange() {
    let permissions = json!({"filesystem": [{"path": "/", "guest": "/", "mode": "read"}]});
    let scene = Scene::of(&guest("probe"), json!({"permissions": permissions})).await;
    // The blob of another host, which was started later, in the usual place.
    let exchange = Exchange::open().unwrap();
    let blob = exchange.write(b"of another plugin", "text/plain").unwrap();
    let session = exchange.directories().remove(0);
    let blobs = blob.path().parent().unwrap();
    for (method, path) in [("read", blob.path()), ("read", &session.join("lock")), ("list", blobs), ("list", &session)]
    {
        let arguments = json!({"dir": "/", "path": path.strip_prefix("/").unwrap()});
        scene.fails(call(method, arguments), ErrorCode::Denied, &["permissions.filesystem"]).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_too_many_open_files() {
    let place = Place::new();
    let scene = place.scene(json!({"files": 64})).await;
    for method in ["keep-open", "keep-streams"] {
        let arguments = json!({"dir": "/data", "path": "note.txt", "times": 1_000_000});
        scene.fails(call(method, arguments), ErrorCode::ResourceExhausted, &["64", "limits.files"]).await;
        scene.execute(call("drop-kept", json!({}))).await.unwrap();
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_disk_filler() {
    let place = Place::new();
    let scene = place.scene(json!({"blob_mb": 2})).await;
    let arguments = json!({"dir": "/data", "path": "big", "bytes": 1_u64 << 40});
    scene.fails(call("stream-out", arguments), ErrorCode::ResourceExhausted, &["2 MiB", "limits.blob_mb"]).await;
    assert!(std::fs::metadata(place.path("data/big")).unwrap().len() <= 2 << 20);
    scene.end().await;
}
