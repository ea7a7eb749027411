//! `cache` and `env`: showing and removing caches and environments.

use std::fs;
use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use crate::files::ADD;
use crate::place::{PROBE, Place, signal};

#[test]
fn the_cache_of_components_is_shown_and_emptied() {
    let place = Place::new();
    fs::write(place.path("empty.wasm"), wat::parse_str(ADD).unwrap()).unwrap();
    let run = |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--cache", "cache"]).collect();
        place.run(&args)
    };
    run(&["compile", "empty.wasm"]).assert_status(0);
    let listed = run(&["cache", "list", "--output=json"]).assert_status(0).json();
    assert_eq!(listed["compiled"]["entries"], 1, "{listed}");
    assert!(listed["compiled"]["bytes"].as_u64().unwrap() > 0);
    let text = run(&["cache", "list"]);
    assert!(text.assert_status(0).stdout.contains("compiled components  1        "), "{}", text.all());
    assert!(run(&["cache", "clean"]).assert_status(0).stdout.starts_with("removed 1 compiled component, "));
    assert_eq!(run(&["cache", "list", "--output=json"]).json()["compiled"]["entries"], 0);
    run(&["compile", "empty.wasm"]).assert_status(0);
}

/// Stores a file in the cache, like a library that downloads a model.
const KEEPER: &str = r#"
import os

class Keeper:
    def execute(self):
        with open(os.path.join(os.environ["XDG_CACHE_HOME"], "model"), "a") as file:
            file.write("kept")
            return file.tell()

    def execute_stream(self):
        yield self.execute()
        import time
        time.sleep(3600)
"#;

#[test]
fn what_libraries_keep_is_shown_and_removed_unless_a_plugin_is_loaded() {
    let place = Place::new();
    place.write("manifests/keeper.py", KEEPER);
    let manifest = |name: &str, more: Value| {
        let mut manifest =
            json!({"name": name, "version": "1.0.0", "module": "keeper", "class": "Keeper", "source": "."});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        place.write(&format!("manifests/{name}.json"), &manifest.to_string());
    };
    manifest("trusted", json!({}));
    manifest("held", json!({"permissions": {}}));
    let listed = || {
        let listed = place.run(&["cache", "list", "--output=json"]).assert_status(0).json();
        let all = listed["plugins"].as_array().unwrap().clone();
        all.iter().map(|one| (one["plugin"].clone(), one["confined"].clone(), one["bytes"].clone())).collect::<Vec<_>>()
    };
    for bytes in [4, 8] {
        for name in ["trusted", "held"] {
            assert_eq!(place.run(&["run", name]).assert_status(0).json(), bytes, "it finds what the last run has kept");
        }
    }
    let row = |plugin: &str, confined: bool| (json!(plugin), json!(confined), json!(8));
    assert_eq!(listed(), [row("held", true), row("trusted", false)]);
    let text = place.run(&["cache", "list"]);
    let line = text.assert_status(0).stdout.lines().find(|line| line.starts_with("held (confined) ")).unwrap();
    assert!(line.contains(" 1 KiB ") && line.contains(" less than a day ago "), "{}", text.all());
    place.run(&["cache", "clean", "nobody"]).assert_status(3);
    let ran = place.run(&["cache", "clean", "held"]);
    assert_eq!(ran.assert_status(0).stdout, "removed 1 cache of plugins, 1 KiB\n", "{}", ran.all());
    assert_eq!(listed(), [row("trusted", false)]);

    let mut child = place.command(&["stream", "trusted"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let ran = place.run(&["cache", "clean"]);
    assert!(ran.assert_status(0).stdout.ends_with("removed 0 caches of plugins, 0 KiB\n"), "{}", ran.all());
    assert!(ran.stderr.contains("Not removed, because a host uses them: trusted (trusted)."), "{}", ran.all());
    signal(&child, "INT");
    place.ended(child).assert_status(130);
    place.run(&["cache", "clean"]).assert_status(0);
    assert!(listed().is_empty());
    assert_eq!(place.run(&["run", "trusted"]).assert_status(0).json(), 4);
    place.assert_clean();
}

#[test]
fn environments_are_shown_and_removed_unless_a_plugin_uses_them() {
    let place = Place::new();
    place.write("probe_plugin.py", PROBE);
    let manifest = json!({"name": "probe", "version": "1.0.0", "module": "probe_plugin", "class": "Probe", "source": "..",
        "requirements": []});
    place.write("manifests/probe.json", &manifest.to_string());
    let run = |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--environments", "environments"]).collect();
        place.run(&args)
    };
    assert_eq!(run(&["env", "list", "--output=json"]).assert_status(0).json(), json!([]));
    let hold = format!("hold={}", place.path("flag").display());
    let args = ["stream", "probe", "count:=1", &hold, "--environments", "environments"];
    let mut child = place.command(&args).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let listed = run(&["env", "list", "--output=json"]).assert_status(0).json();
    assert_eq!((&listed[0]["in_use"], &listed[0]["requirements"]), (&true.into(), &json!([])), "{listed}");
    let key = listed[0]["key"].as_str().unwrap();
    let path = place.path("environments").join(key);
    let ran = run(&["env", "clean"]);
    assert!(ran.assert_status(0).stdout.starts_with("removed 0 environments"), "{}", ran.all());
    assert!(
        ran.stderr.contains(&format!("Not removed, because a host uses them: {key}.")) && path.is_dir(),
        "{}",
        ran.all()
    );
    signal(&child, "INT");
    place.ended(child).assert_status(130);
    assert_eq!((&listed[0]["plugins"], &listed[0]["wheels_only"]), (&json!(["probe"]), &false.into()), "{listed}");
    let version = listed[0]["python_version"].as_str().unwrap();
    let made_with = listed[0]["made_with"].as_str().unwrap();
    let text = run(&["env", "list"]);
    let row =
        text.assert_status(0).stdout.lines().nth(1).unwrap().split("  ").map(str::trim).filter(|part| !part.is_empty());
    let row: Vec<&str> = row.collect();
    assert_eq!(row[2..6], [version, made_with, "less than a day ago", "probe"], "{}", text.all());
    assert!(run(&["env", "clean", "--unused-for", "1"]).assert_status(0).stdout.starts_with("removed 0 environments"));
    run(&["env", "clean", "0123456789abcdef"]).assert_status(3);
    let ran = run(&["env", "clean", key, "--output=json"]).assert_status(0).json();
    assert!(ran["removed"] == json!([key]) && ran["bytes"].as_u64().unwrap() > 1000 && !path.exists(), "{ran}");
    // It is made again for a plugin that needs it.
    run(&["run", "probe"]).assert_status(0);
    assert!(path.is_dir());
    place.assert_clean();
}
