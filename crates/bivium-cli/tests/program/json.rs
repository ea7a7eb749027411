//! Snapshots of all JSON that the program prints, so that every change of a key is visible in review.
//! `INSTA_UPDATE=always cargo test --workspace --test program json::` updates them.

use std::fs;

use serde_json::{Value, json};

use crate::files::ADD;
use crate::place::Place;

/// Keys whose values depend on the machine or on the time.
const VARY: [&str; 18] = [
    "age_s",
    "busy_s",
    "bytes",
    "call",
    "idle_s",
    "instance",
    "key",
    "load_s",
    "made_with",
    "memory_bytes",
    "pids",
    "python",
    "python_version",
    "seconds",
    "start_s",
    "time_ms",
    "used_s",
    "wall_s",
];

const WORDS: &str = r#"
import logging
import os

class Words:
    """Says words."""

    def initialize(self, config):
        self.config = config

    def get_config_schema(self):
        return {"type": "object", "additionalProperties": False, "properties": {
            "mask": {"type": "string", "default": "-"}, "times": {"type": "integer", "minimum": 1, "default": 1}}}

    def get_current_config(self):
        return self.config

    def execute(self, text: str, times: int = 1) -> str:
        """Says a text."""
        logging.getLogger("words").warning("says %s", text)
        return text * times

    def split(self, text: str):
        """Says it word by word."""
        for word in text.split(","):
            yield word

    def made(self) -> bytes:
        return b"made"

    def keep(self):
        with open(os.path.join(os.environ["XDG_CACHE_HOME"], "model"), "w") as file:
            file.write("kept")

    def fail(self):
        raise ValueError("no good")
"#;

/// A place with a Python plugin and a component.
fn place() -> Place {
    let place = Place::new();
    place.write("manifests/words.py", WORDS);
    let words = json!({"name": "words", "version": "1.0.0", "module": "words", "class": "Words", "source": ".",
        "description": "Says words", "category": "text"});
    place.write("manifests/words.json", &words.to_string());
    fs::write(place.path("manifests/adds.wasm"), wat::parse_str(ADD).unwrap()).unwrap();
    place.component("adds", json!({}));
    place
}

/// Compares the output of these command lines with the snapshot of this name.
fn hold(name: &str, place: &Place, lines: &[&str]) {
    let told = |line: &&str| {
        let args: Vec<&str> = line.split(' ').collect();
        let ran = place.run(&[&args[..], &["--output=json"]].concat());
        let said = ran.stdout.lines().chain(ran.stderr.lines());
        format!("$ bivium {line}  # ends with {}\n{}", ran.status, said.map(document).collect::<String>())
    };
    let told = lines.iter().map(told).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(name, told);
}

fn document(line: &str) -> String {
    let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    format!("{:#}\n", without_varying(None, &read))
}

fn without_varying(key: Option<&str>, value: &Value) -> Value {
    match (key, value) {
        // The steps of a pipeline are objects with names as keys.
        (Some("id"), Value::Number(_)) => "[id]".into(),
        (Some(key), value) if VARY.contains(&key) && !value.is_null() => format!("[{key}]").into(),
        (_, Value::Array(items)) => items.iter().map(|item| without_varying(None, item)).collect(),
        (_, Value::Object(object)) => {
            // Known only if the worker has used some processor time.
            let kept = object.iter().filter(|(key, _)| *key != "cpu_percent");
            Value::Object(kept.map(|(key, value)| (key.clone(), without_varying(Some(key), value))).collect())
        }
        (_, Value::String(text)) => text.split('/').map(without_hash).collect::<Vec<_>>().join("/").into(),
        (_, other) => other.clone(),
    }
}

/// The names of directories that are made from their content.
fn without_hash(part: &str) -> &str {
    let is_hash = part.len() >= 16 && part.chars().all(|digit| digit.is_ascii_hexdigit());
    if is_hash { "[hash]" } else { part }
}

#[test]
fn plugins() {
    let place = place();
    place.write("manifests/broken.json", r#"{"name": "broken", "versoin": "1"}"#);
    place.write("manifests/package.json", r#"{"name": "x", "version": "1", "private": true}"#);
    fs::create_dir(place.path("more")).unwrap();
    place.write("more/adds.json", r#"{"name": "adds", "version": "2", "component": "adds.wasm"}"#);
    hold(
        "plugins",
        &place,
        &[
            "list --manifests manifests --manifests more",
            "disable words",
            "enable words",
            "validate manifests nothing.json",
            "import-cjm manifests",
        ],
    );
}

#[test]
fn info() {
    let place = place();
    place.write("policy.json", r#"{"limits": {"memory_mb": 32}, "permissions": {}}"#);
    let permissions = json!({"network": ["https://example.com"], "clocks": true});
    place.component("adds", json!({"permissions": permissions, "limits": {"memory_mb": 64}}));
    hold(
        "info",
        &place,
        &[
            "info words",
            "info words --load",
            "info adds",
            "info adds --load",
            "info adds --no-load --policy policy.json",
        ],
    );
}

#[test]
fn calls() {
    let place = place();
    hold(
        "calls",
        &place,
        &[
            "run words text=hello times:=2 -q",
            "run words --method made --out out",
            "run words --method fail",
            "run words txet=hello",
            "run nobody",
            "stream words --method split text=one,two",
            "stats words",
            "logs words -n 3",
            "run adds a:=1 b:=2",
            "run adds a=1 b:=2",
            "compile adds",
        ],
    );
}

#[test]
fn configurations() {
    let place = place();
    hold(
        "configurations",
        &place,
        &[
            "config schema words",
            "config set words mask=x",
            "config get words",
            "config set words times:=0 maks=x",
            "config unset words mask",
            "config reset words",
        ],
    );
}

#[test]
fn pipelines() {
    let place = place();
    let steps = json!([
        {"id": "all", "plugin": "words", "method": "split", "stream": true, "args": {"text": {"$from": "inputs/text"}}},
        {"id": "sum", "plugin": "adds", "args": {"a": 1, "b": 2}},
    ]);
    let pipeline = json!({"name": "p", "inputs": {"text": {"default": "one,two"}}, "steps": steps,
        "outputs": {"sum": {"$from": "sum"}}});
    place.write("manifests/p.json", &pipeline.to_string());
    place.write("bad.json", r#"{"name": "bad", "steps": [{"id": "a", "plugin": "nobody"}]}"#);
    place.write("manifests/worse.json", r#"{"name": "worse", "steps": []}"#);
    hold(
        "pipelines",
        &place,
        &[
            "pipeline list",
            "pipeline check p",
            "pipeline check bad.json",
            "pipeline run p -q",
            "pipeline run p other=1",
        ],
    );
}

#[test]
fn what_is_kept() {
    let place = place();
    let needs = json!({"name": "needs", "version": "1.0.0", "module": "words", "class": "Words", "source": ".",
        "requirements": []});
    place.write("manifests/needs.json", &needs.to_string());
    place.run(&["run", "needs", "--method=keep"]).assert_status(0);
    place.run(&["compile", "adds"]).assert_status(0);
    hold("what_is_kept", &place, &["cache list", "env list", "info needs", "env clean", "cache clean"]);
}

#[test]
fn the_machine() {
    let place = place();
    let mut report = place.run(&["doctor", "--output=json"]).json();
    // The results of the other checks depend on the machine.
    report["ok"] = report["ok"].is_boolean().into();
    report["checks"].as_array_mut().unwrap().retain(|check| check["what"] == "manifests");
    insta::assert_json_snapshot!(report, @r#"
    {
      "ok": true,
      "checks": [
        {
          "level": "ok",
          "what": "manifests",
          "text": "2 found in [DIR]/manifests"
        }
      ]
    }
    "#);
}
