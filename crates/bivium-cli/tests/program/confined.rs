//! Confined Python plugins as the program's users meet them.

use serde_json::json;

use crate::place::Place;

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
fn a_denial_behind_an_error_ends_the_program_with_its_status_and_names_the_permission() {
    let place = place();
    let file = place.path("model.bin");
    std::fs::write(&file, "here").unwrap();
    let ran = place.run(&["run", "kept", "--method", "model", &format!("path={}", file.display())]);
    if ran.status == 0 {
        eprintln!("SKIPPED: this machine cannot hold files");
        return;
    }
    ran.assert_status(5);
    for part in ["the model cannot be loaded", "behind it is ", "permissions.filesystem"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.all());
    }
    let ran = place.run(&["run", "kept", "--method", "fetch"]);
    assert!(ran.assert_status(5).stderr.contains("permissions.network"), "{}", ran.all());
    place.assert_clean();
}
