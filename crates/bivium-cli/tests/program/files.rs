//! Plugins without a manifest: a component, and a class in a Python file.

use std::fs;

use serde_json::json;

use crate::place::Place;

pub(crate) const ADD: &str = r#"(component
    (core module $m
        (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
    (core instance $i (instantiate $m))
    (func (export "add") (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $i "add"))))"#;

const WORDS: &str = "\
import os

class Words:
    def initialize(self, config):
        self.config = config

    def execute(self, text='', least: int = 1):
        return {'words': text.split(), 'config': self.config, 'home': os.environ.get('HOME')}
";

fn place() -> Place {
    let place = Place::new();
    fs::write(place.path("add.wasm"), wat::parse_str(ADD).unwrap()).unwrap();
    place.write("words.py", WORDS);
    place
}

#[test]
fn a_component_runs_without_a_manifest_and_is_granted_nothing() {
    let place = place();
    let path = place.path("add.wasm").display().to_string();
    for file in ["add.wasm", "./add.wasm", &path] {
        let ran = place.run(&["run", file, "--method", "add", "a:=-8", "b:=3"]);
        assert_eq!(ran.assert_status(0).json(), json!(-5), "{}", ran.all());
    }
    // Files in a directory of manifests do not matter, and its name is not the name of a plugin.
    place.component("add.wasm", json!({"component": "other.wasm"}));
    assert_eq!(place.run(&["run", "./add.wasm", "--method", "add", "a:=1", "b:=1"]).assert_status(0).json(), json!(2));
    let info = place.run(&["info", "./add.wasm"]);
    assert!(info.assert_status(0).stdout.contains("permissions   none"), "{}", info.all());
    assert!(info.stdout.starts_with("add.wasm 0\n") && !info.stdout.contains("manifest "), "{}", info.all());
    place.run(&["stats", "./add.wasm", "--output=json"]).assert_status(0);
    place.run(&["config", "get", "./add.wasm"]).assert_status(0);
    place.assert_clean();
}

#[test]
fn a_class_in_a_python_file_runs_as_the_file_would() {
    let place = place();
    let ran = place.run(&["run", "words.py:Words", "text=a b", "--config", "n:=1"]);
    let home = place.path("").display().to_string();
    let home = home.trim_end_matches('/').replace(&home, "[DIR]");
    let result = ran.assert_status(0).json();
    assert_eq!((&result["words"], &result["config"]), (&json!(["a", "b"]), &json!({"n": 1})), "{}", ran.all());
    assert!(result["home"].is_string(), "{home}: it is trusted");
    let info = place.run(&["info", "./words.py:Words"]);
    assert!(info.assert_status(0).stdout.contains("unconfined: it may do everything that you may"), "{}", info.all());
    // A policy applies to it as to any other plugin.
    place.write("policy.json", r#"{"permissions": {}, "confine": true}"#);
    let info = place.run(&["info", "./words.py:Words", "--policy", "policy.json"]);
    assert!(info.assert_status(0).stdout.contains("permissions   none"), "{}", info.all());
    place.assert_clean();
}

#[test]
fn a_missing_file_or_class_is_an_error() {
    let place = place();
    let told = |args: &[&str], status: i32| place.run(args).assert_status(status).stderr.clone();
    assert_eq!(told(&["run", "./none.py:Words"], 3), "bivium: there is no file ./none.py\n");
    assert!(told(&["run", "./none.wasm"], 3).contains("none.wasm"));
    assert!(told(&["run", "./none.json"], 3).contains("there is no file ./none.json"));
    assert_eq!(
        told(&["run", "words.py"], 4),
        "bivium: words.py may have several classes and functions; name the class or function: words.py:NAME\n"
    );
    assert!(told(&["run", "words.py:None"], 4).contains("'None'; it has: Words"));
    place.write("my-words.py", WORDS);
    assert!(told(&["run", "my-words.py:Words"], 4).contains("letters, digits and `_`"));
    for args in [
        &["config", "set", "words.py:Words", "a=1"] as &[_],
        &["config", "unset", "words.py:Words", "a"],
        &["config", "reset", "words.py:Words"],
        &["disable", "./add.wasm"],
    ] {
        assert!(told(args, 4).contains("has no manifest"), "{args:?}");
    }
    assert!(!place.path("data/settings").exists());
}
