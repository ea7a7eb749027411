//! Settings that are saved for later runs.

use serde_json::json;

use crate::place::Place;

#[test]
fn disabled_is_kept_and_shown() {
    let place = Place::new();
    place.component("redact", json!({}));
    insta::assert_snapshot!(place.run(&["disable", "redact"]).all(), @"
    0
    --- stdout
    redact is disabled
    --- stderr
    ");
    assert_eq!(place.run(&["list", "--output=json"]).json()["plugins"][0]["enabled"], false);
    insta::assert_snapshot!(place.run(&["enable", "manifests/redact.json", "--output", "json"]).all(), @r#"
    0
    --- stdout
    {"name":"redact","enabled":true}
    --- stderr
    "#);
    assert_eq!(place.run(&["list", "--output=json"]).json()["plugins"][0]["enabled"], true);
}

#[test]
fn a_schema_in_the_manifest_is_printed_without_starting_the_plugin() {
    let place = Place::new();
    let schema = json!({"type": "object", "properties": {"mask": {"type": "string"}}});
    place.component("redact", json!({"config_schema": schema}));
    assert_eq!(place.run(&["config", "schema", "redact"]).assert_status(0).json(), schema);
}

#[test]
fn saved_settings_that_are_broken_are_named() {
    let place = Place::new();
    place.component("redact", json!({}));
    std::fs::create_dir(place.path("data/settings")).unwrap();
    place.write("data/settings/redact.json", "{");
    insta::assert_snapshot!(place.run(&["config", "get", "redact"]).all(), @"
    4
    --- stdout
    --- stderr
    bivium: redact: the saved settings [DIR]/data/settings/redact.json are not valid: EOF while parsing an object at line 1 column 1; correct or delete that file
    ");
}

/// A plugin that accepts every setting.
fn open_minded(place: &Place) {
    let source = "class Any:\n    def initialize(self, config): self.config = config\n    def execute(self): return self.config\n";
    place.write("any_plugin.py", source);
    let manifest = json!({"name": "any", "version": "1.0.0", "module": "any_plugin", "class": "Any", "source": "..",
        "config_schema": {"type": "object", "properties": {"both": {"maximum": 1}}, "additionalProperties": true}});
    place.write("manifests/any.json", &manifest.to_string());
}

#[test]
fn keys_of_a_saved_configuration_are_taken_out_and_all_of_it_is_forgotten() {
    let place = Place::new();
    open_minded(&place);
    place.run(&["config", "set", "any", "a=1", "b=2", "c=3"]).assert_status(0);
    let ran = place.run(&["config", "unset", "any", "a", "never"]);
    assert!(
        ran.assert_status(3).stderr.contains("no setting \"never\" is saved; its saved settings are a, b, c"),
        "{}",
        ran.all()
    );
    let ran = place.run(&["config", "unset", "any", "a", "b"]);
    assert_eq!(ran.assert_status(0).json(), json!({"c": "3"}), "{}", ran.all());
    assert_eq!(place.run(&["config", "get", "any"]).json(), json!({"c": "3"}));
    place.run(&["disable", "any"]).assert_status(0);
    insta::assert_snapshot!(place.run(&["config", "reset", "any"]).all(), @"
    0
    --- stdout
    any has its defaults again
    --- stderr
    ");
    assert_eq!(place.run(&["config", "reset", "any", "--output=json"]).json(), json!({"name": "any", "reset": false}));
    assert_eq!(place.run(&["config", "get", "any"]).json(), json!({}));
    assert_eq!(
        place.run(&["list", "--output=json"]).json()["plugins"][0]["enabled"],
        false,
        "that is no configuration"
    );
}

#[test]
fn a_setting_that_the_plugin_does_not_have_is_refused_or_warned_about_without_a_schema() {
    let place = Place::new();
    open_minded(&place);
    let manifest = json!({"name": "closed", "version": "1.0.0", "module": "any_plugin", "class": "Any", "source": "..",
        "config_schema": {"type": "object", "properties": {"mask": {"type": "string"}, "n": {"type": "integer"}}}});
    place.write("manifests/closed.json", &manifest.to_string());
    insta::assert_snapshot!(place.run(&["config", "set", "closed", "maks=x"]).all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: closed: there is no setting "maks"; its settings are mask, n
    "#);
    assert!(!place.path("data/settings/closed.json").exists());
    let ran = place.run(&["config", "set", "closed", "n=3"]);
    assert!(ran.assert_status(4).stderr.contains("`n=…` passes a text: write `n:=3`"), "{}", ran.all());
    let ran = place.run(&["run", "closed", "--config", "n=3"]);
    assert!(ran.assert_status(4).stderr.contains("write `n:=3`"), "{}", ran.all());
    // Keys that an older version has saved can be removed.
    std::fs::create_dir_all(place.path("data/settings")).unwrap();
    place.write("data/settings/closed.json", r#"{"config": {"old": 1, "mask": "x"}}"#);
    place.run(&["config", "set", "closed", "old:=null", "n:=3"]).assert_status(0);
    assert_eq!(place.run(&["config", "get", "closed"]).json(), json!({"mask": "x", "n": 3}));

    let manifest =
        json!({"name": "unknown", "version": "1.0.0", "module": "any_plugin", "class": "Any", "source": ".."});
    place.write("manifests/unknown.json", &manifest.to_string());
    let ran = place.run(&["config", "set", "unknown", "maks=x"]);
    assert!(ran.assert_status(0).stderr.contains("bivium: warning: unknown: its schema does not say"), "{}", ran.all());
}

#[test]
fn stats_show_what_a_plugin_takes() {
    let place = Place::new();
    open_minded(&place);
    let stats = place.run(&["stats", "any", "--output=json"]).assert_status(0).json();
    let instance = &stats["stats"]["instances"][0];
    assert!(instance["memory_bytes"].as_u64().unwrap() > 1 << 20, "{stats}");
    assert!(!instance["pids"].as_array().unwrap().is_empty() && stats["load_s"].is_f64(), "{stats}");
    let text = place.run(&["stats", "any"]);
    assert!(
        text.assert_status(0).stdout.contains("MiB") && text.stderr.starts_with("any: loaded in "),
        "{}",
        text.all()
    );
    place.assert_clean();
}

#[test]
fn many_programs_that_save_at_once_lose_no_update() {
    let place = Place::new();
    open_minded(&place);
    place.component("redact", json!({}));
    let saving = |n: usize| {
        let setting = format!("key{n}:={n}");
        let args = if n == 0 { vec!["disable", "any"] } else { vec!["config", "set", "any", &setting] };
        place.command(&args).spawn().unwrap()
    };
    let programs: Vec<_> = (0..32).map(saving).collect();
    for program in programs {
        place.ended(program).assert_status(0);
    }
    let saved: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("data/settings/any.json")).unwrap()).unwrap();
    let config: serde_json::Map<_, _> = (1..32).map(|n| (format!("key{n}"), json!(n))).collect();
    assert_eq!(saved, json!({"enabled": false, "config": config}));
    let names = || std::fs::read_dir(place.path("data/settings")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names().collect();
    names.sort();
    assert_eq!(names, [".lock", "any.json"], "nothing unfinished is left");
}

#[test]
fn a_program_that_is_killed_while_it_saves_leaves_complete_settings() {
    let place = Place::new();
    place.component("redact", json!({}));
    for n in 0..40 {
        let mut program = place.command(&[if n % 2 == 0 { "disable" } else { "enable" }, "redact"]).spawn().unwrap();
        // At a different time of its life in each round.
        std::thread::sleep(std::time::Duration::from_micros(500 * n));
        program.kill().unwrap();
        program.wait().unwrap();
        place.run(&["list", "--output=json"]).assert_status(0);
    }
    place.run(&["disable", "redact"]).assert_status(0);
    assert_eq!(place.run(&["list", "--output=json"]).json()["plugins"][0]["enabled"], false);
    let names = std::fs::read_dir(place.path("data/settings")).unwrap().count();
    assert_eq!(names, 2, "the lock and the file");
}

#[test]
fn settings_that_cannot_be_locked_or_written_are_an_error_with_a_cure() {
    let place = Place::new();
    place.component("redact", json!({}));
    std::fs::create_dir_all(place.path("data/settings/.lock")).unwrap();
    let ran = place.run(&["disable", "redact"]);
    assert!(ran.stderr.contains("cannot write the saved settings [DIR]/data/settings/redact.json"), "{}", ran.all());
    assert_ne!(ran.status, 0);
}

#[test]
fn a_data_directory_that_is_none_is_told_with_its_option() {
    let place = Place::with_probe();
    place.write("file", "");
    for command in [&["run", "probe"][..], &["disable", "probe"], &["config", "set", "probe", "a=1"]] {
        let ran = place.run(&[command, &["--data-dir", "file/data"]].concat());
        assert!(ran.assert_status(4).stderr.contains("name another data directory (`--data-dir`"), "{}", ran.all());
    }
    place.run(&["logs", "probe", "--data-dir", "file/data"]).assert_status(4);
    place.assert_clean();
}
