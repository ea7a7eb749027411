//! `list`, `info`, `validate` and `doctor`, none of which needs a plugin that starts.

use serde_json::json;

use crate::place::Place;

fn place_with_two() -> Place {
    let place = Place::new();
    place.component("redact", json!({"category": "text", "description": "Masks what matches patterns"}));
    let python = json!({"name": "whisper", "version": "0.2", "module": "whisper_plugin", "class": "Whisper",
        "category": "transcription", "description": "Speech to text", "requirements": ["openai-whisper==1"],
        "resources": {"requires_gpu": true, "min_gpu_vram_mb": 4096}});
    place.write("manifests/whisper.json", &python.to_string());
    place
}

#[test]
fn list_is_a_table_and_warns_of_what_is_no_manifest() {
    let place = place_with_two();
    place.write("manifests/other.json", "{");
    insta::assert_snapshot!(place.run(&["list"]).all(), @"");
    insta::assert_snapshot!(place.run(&["list", "--category", "nothing"]).all(), @"");
    let ran = place.run(&["list", "--category=text", "--output=json"]);
    let list = ran.assert_status(0).json();
    assert_eq!(list["plugins"][0]["name"], "redact", "{}", ran.all());
    assert_eq!(list["plugins"].as_array().unwrap().len(), 1);
    assert_eq!(list["problems"][0]["error"]["code"], "invalid-manifest");
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""));
}

#[test]
fn the_command_line_is_before_the_environment() {
    let place = place_with_two();
    let ran = place.run(&["list", "--manifests", "data"]);
    insta::assert_snapshot!(ran.all(), @"");
}

#[test]
fn info_shows_the_manifest_without_starting_anything() {
    let place = place_with_two();
    insta::assert_snapshot!(place.run(&["info", "whisper", "--no-load"]).all(), @"");
    let permissions = json!({"filesystem": [{"path": "data", "guest": "/data"}], "network": ["https://example.com"],
        "env": ["LANG"], "clocks": true});
    place.component("fetch", json!({"permissions": permissions, "limits": {"memory_mb": 64, "call_ms": 5000}}));
    insta::assert_snapshot!(place.run(&["info", "manifests/fetch.json", "--no-load"]).all(), @"");
    let json = place.run(&["info", "fetch", "--no-load", "--output", "json"]).assert_status(0).json();
    assert_eq!((&json["manifest"]["name"], &json["confined"]), (&"fetch".into(), &true.into()));
}

#[test]
fn info_shows_a_plugin_that_does_not_start_and_says_why() {
    let place = place_with_two();
    let ran = place.run(&["info", "redact"]);
    assert!(ran.assert_status(0).stdout.starts_with("redact 1.0.0"), "{}", ran.all());
    assert!(ran.stderr.starts_with("bivium: warning: redact: "), "{}", ran.all());
    assert!(place.run(&["info", "redact", "--output=json"]).json()["problem"]["code"].is_string());
    place.assert_clean();
}

#[test]
fn validate_reports_every_problem_of_every_file() {
    let place = place_with_two();
    place.write("pipeline.json", r#"{"name": "captions", "steps": [{"id": "one", "plugin": "redact"}]}"#);
    let valid = ["validate", "manifests", "manifests/redact.json", "pipeline.json"];
    insta::assert_snapshot!(place.run(&valid).all(), @"");

    place.write("broken.json", "{\"name\": \"a\",\n \"versoin\": \"1\",\n \"instances\": {\"max\": 0}}");
    place.write("steps.json", r#"{"name": "p", "steps": [{"id": "inputs", "plugin": "x", "for_each": "y"}]}"#);
    let invalid = ["validate", "broken.json", "steps.json", "missing.json", "manifests/redact.json"];
    insta::assert_snapshot!(place.run(&invalid).all(), @"");
    let json = place.run(&["validate", "broken.json", "--output=json"]).assert_status(4).json();
    assert_eq!((&json[0]["valid"], &json[0]["error"]["code"]), (&false.into(), &"invalid-manifest".into()));
}

#[test]
fn doctor_finds_what_is_missing() {
    let place = Place::new();
    let ran = place.run(&["doctor"]);
    ran.assert_status(0);
    for what in ["exchange", "data directory", "WebAssembly", "python", "environments", "GPU", "manifests"] {
        assert!(ran.stdout.lines().any(|line| line.contains(&format!("  {what}: "))), "{what}: {}", ran.all());
    }
    place.component("redact", json!({}));
    place.write("manifests/other.json", "{");
    let ran = place.run(&["doctor"]);
    let fails: Vec<&str> = ran.assert_status(1).stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    insta::assert_snapshot!(fails.join("\n"), @"");
    assert_eq!(place.run(&["doctor", "--output", "json"]).assert_status(1).json()["ok"], false);
    place.assert_clean();
}
