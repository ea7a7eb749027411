//! Confined Python plugins as the program's users see them.

use std::path::Path;

use serde_json::{Value, json};

use crate::place::Place;
use crate::skipped::skipped;

const PLUGIN: &str = r#"
import urllib.request

class Kept:
    def execute(self):
        return "done"

    def model(self, path):
        try:
            open(path)
        except OSError as error:
            raise LookupError("the model cannot be loaded") from error

    def fetch(self):
        urllib.request.urlopen("http://127.0.0.1:9/", timeout=5)
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("manifests/kept.py", PLUGIN);
    let manifest = json!({"name": "kept", "version": "1.0.0", "module": "kept", "class": "Kept", "source": ".", "permissions": {}});
    place.write("manifests/kept.json", &manifest.to_string());
    place
}

#[test]
fn what_cannot_be_held_is_told_where_one_looks_and_not_by_each_run() {
    let place = place();
    let ran = place.run(&["run", "kept"]);
    assert_eq!((ran.assert_status(0).stdout.as_str(), ran.stderr.as_str()), ("\"done\"\n", ""));
    let told = "permissions.clocks: a process always has clocks";
    let info = place.run(&["info", "kept", "--no-load"]);
    assert!(info.assert_status(0).stdout.contains(&format!("  not held      {told}\n")), "{}", info.all());
    let json = place.run(&["info", "kept", "--no-load", "--output=json"]).json();
    assert!(json["not_held"].as_array().unwrap().contains(&told.into()), "{json}");
    let logs = place.run(&["logs", "kept", "--level", "debug"]);
    assert!(logs.assert_status(0).stdout.contains(told), "{}", logs.all());
    place.assert_clean();
}

#[test]
fn one_is_found_by_a_link_and_by_a_path_with_two_dots() {
    let place = place();
    std::os::unix::fs::symlink(place.path("manifests"), place.path("link")).unwrap();
    std::fs::create_dir(place.path("beside")).unwrap();
    for path in ["manifests/kept.json", "link/kept.json", "beside/../manifests/kept.json"] {
        assert_eq!(place.run(&["run", path]).assert_status(0).json(), json!("done"), "{path}");
    }
    place.assert_clean();
}

#[test]
fn denials_are_in_the_audit_log_and_a_grant_has_the_hosts_path() {
    let place = place();
    let data = tempfile::tempdir_in("/var/tmp").unwrap();
    let there = data.path().join("model.bin");
    std::fs::write(&there, "here").unwrap();
    let permissions = json!({"filesystem": [{"path": data.path(), "guest": "/granted-data"}]});
    let manifest = json!({"name": "kept", "version": "1.0.0", "module": "kept", "class": "Kept", "source": ".", "permissions": permissions});
    place.write("manifests/kept.json", &manifest.to_string());
    let info = place.run(&["info", "kept", "--no-load"]);
    let granted = format!("  permissions   read {}\n", data.path().display());
    assert!(info.assert_status(0).stdout.contains(&granted), "{}", info.all());
    let file = place.path("model.bin");
    std::fs::write(&file, "here").unwrap();
    let named = format!("path={}", file.display());
    let ran = place.run(&["run", "kept", "--method", "model", &named, "--audit", "audit.jsonl"]);
    if ran.status == 0 {
        skipped("this machine cannot hold files");
        return;
    }
    ran.assert_status(5);
    let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let records: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let denied: Vec<_> = records.iter().filter(|record| record["decision"] == "denied").collect();
    let [record] = denied.as_slice() else { panic!("{audit} {}", ran.all()) };
    assert_eq!((&record["permission"], &record["plugin"]), (&json!("permissions.filesystem"), &json!("kept")));
    assert_eq!(record["resource"].as_str().map(Path::new), Some(file.as_path()));
    assert!(place.run(&["logs", "kept"]).stdout.contains("denied: permissions.filesystem "));
    let ran = place.run(&["run", "kept", "--method", "model", "path=/granted-data/model.bin"]);
    let told = format!("so use {} in place of /granted-data/model.bin", there.display());
    assert!(ran.stderr.contains(&told), "{}", ran.all());
    place.assert_clean();
}

#[test]
fn a_denial_behind_an_error_ends_the_program_with_its_status_and_names_the_permission() {
    let place = place();
    let file = place.path("model.bin");
    std::fs::write(&file, "here").unwrap();
    let ran = place.run(&["run", "kept", "--method", "model", &format!("path={}", file.display())]);
    if ran.status == 0 {
        skipped("this machine cannot hold files");
        return;
    }
    ran.assert_status(5);
    for part in ["the model cannot be loaded", "it was caused by ", "permissions.filesystem"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.all());
    }
    let ran = place.run(&["run", "kept", "--method", "fetch"]);
    assert!(ran.assert_status(5).stderr.contains("permissions.network"), "{}", ran.all());
    place.assert_clean();
}
