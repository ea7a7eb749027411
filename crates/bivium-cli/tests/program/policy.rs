//! A host's policy as its operator sees it: its refusals are recorded, and errors name the policy and not the manifest.

use serde_json::{Value, json};

use crate::place::Place;
use crate::skipped::skipped;

const PLUGIN: &str = r#"
class Reads:
    def execute(self, path):
        return open(path).read()
"#;

fn place(keys: Value) -> Place {
    let place = Place::new();
    place.write("manifests/reads.py", PLUGIN);
    let mut manifest = json!({"name": "reads", "version": "1.0.0", "module": "reads", "class": "Reads", "source": "."});
    manifest.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    place.write("manifests/reads.json", &manifest.to_string());
    place
}

/// Denials by permission, with the resource and the reason of each.
fn denials(place: &Place) -> Vec<(String, String, String)> {
    let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let records = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
    let denied = records.filter(|record| record["decision"] == "denied");
    denied.map(|record| (text(&record, "permission"), text(&record, "resource"), text(&record, "reason"))).collect()
}

const RUN: [&str; 6] = ["run", "--policy", "policy.json", "--audit", "audit.jsonl", "reads"];

#[test]
fn refusals_of_a_policy_are_recorded_and_errors_name_the_policy_and_the_rule() {
    let data = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = data.path().join("model.bin");
    std::fs::write(&file, "here").unwrap();
    let place = place(json!({"permissions": {"filesystem": [{"path": data.path(), "guest": "/data"}]}}));
    place.write("policy.json", r#"{"permissions": {}}"#);
    let path = format!("path={}", file.display());
    let ran = place.run(&[RUN.as_slice(), &[&path]].concat());
    let wanted = format!("read {}", data.path().display());
    let refused =
        ("permissions.filesystem".to_owned(), wanted, "the host's policy policy.json does not grant it".to_owned());
    assert_eq!(denials(&place)[0], refused, "{}", ran.all());
    if ran.status == 0 {
        skipped("this machine cannot hold files");
        return;
    }
    let cure = format!(
        "the host's policy policy.json does not grant {} (permissions.filesystem): change the policy",
        refused.1
    );
    assert!(ran.assert_status(5).stderr.contains(&cure), "{}", ran.all());
    place.assert_clean();
}

#[test]
fn a_policy_that_confines_and_enforces_is_named_with_its_rule() {
    let place = place(json!({}));
    place.write("policy.json", r#"{"confine": true}"#);
    let file = place.write("secret.txt", "here");
    let path = format!("path={}", file.display());
    let ran = place.run(&[RUN.as_slice(), &[&path]].concat());
    if ran.status != 0 {
        let cure = "the host's policy policy.json has `confine`, and the plugin's manifest has no `permissions`";
        assert!(ran.assert_status(5).stderr.contains(cure), "{}", ran.all());
    }
    place.write("policy.json", r#"{"confine": true, "enforce": true}"#);
    let ran = place.run(&[RUN.as_slice(), &[&path]].concat());
    let told = "reads: the host's policy policy.json has `enforce`, which this machine cannot do: ";
    assert!(ran.assert_status(5).stderr.contains(told), "{}", ran.all());
    assert!(ran.stderr.contains("remove `enforce` from the host's policy policy.json"), "{}", ran.all());
    assert!(denials(&place).iter().any(|(permission, ..)| permission == "enforce"), "{:?}", denials(&place));
    place.assert_clean();
}

#[test]
fn a_component_that_meets_the_policys_limit_is_told_to_raise_it_there() {
    let place = Place::new();
    place.echo();
    place.component("echo", json!({"permissions": {"clocks": true}, "limits": {"memory_mb": 64}}));
    place.write("policy.json", r#"{"permissions": {}, "limits": {"memory_mb": 1}}"#);
    let ran = place.run(&["run", "--policy", "policy.json", "--audit", "audit.jsonl", "echo", "text=a"]);
    let cure = "raise `limits.memory_mb` in the host's policy policy.json, which allows 1";
    assert!(ran.assert_status(6).stderr.contains(cure), "{}", ran.all());
    let found = denials(&place);
    let [(clocks, ..), (memory, wanted, reason)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((clocks.as_str(), memory.as_str(), wanted.as_str()), ("permissions.clocks", "limits.memory_mb", "64"));
    assert_eq!(reason, "the host's policy policy.json does not grant it; the most that it grants is 1");
    place.run(&["run", "echo", "text=a"]).assert_status(0);
    place.assert_clean();
}

#[test]
fn a_policy_that_does_not_confine_warns_about_trusted_plugins() {
    let place = place(json!({}));
    let file = place.write("note.txt", "here");
    let path = format!("path={}", file.display());
    let warning = "the host's policy policy.json has `permissions` but no `confine`";
    for (policy, count) in [(r#"{"limits": {}}"#, 0), (r#"{"permissions": {}}"#, 1)] {
        place.write("policy.json", policy);
        let ran = place.run(&[RUN.as_slice(), &[&path]].concat());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{policy}: {}", ran.all());
        let told = |args: &[&str]| place.run(args).assert_status(0).stdout.matches(warning).count();
        assert_eq!(told(&["logs", "reads", "--level", "warn"]), count, "{policy}");
        assert_eq!(told(&["info", "reads", "--policy", "policy.json"]), count, "{policy}");
        assert_eq!(told(&["doctor", "--policy", "policy.json"]), count, "{policy}");
    }
}

#[test]
fn what_a_policy_narrows_is_in_the_log_and_in_info_and_not_on_the_stderr_of_a_run() {
    let place = Place::new();
    place.echo();
    place.component("echo", json!({"permissions": {"clocks": true}}));
    place.write("policy.json", r#"{"permissions": {}}"#);
    let ran = place.run(&["run", "--policy", "policy.json", "--audit", "audit.jsonl", "echo", "text=a"]);
    assert_eq!(ran.assert_status(0).stderr, "");
    assert_eq!(denials(&place).len(), 1);
    let told = "permissions.clocks";
    let logged = place.run(&["logs", "echo", "--level", "warn"]);
    assert_eq!(logged.assert_status(0).stdout.matches(told).count(), 1, "{}", logged.all());
    let info = place.run(&["info", "echo", "--policy", "policy.json"]);
    assert!(
        info.assert_status(0)
            .stdout
            .contains("  missing       the host's policy policy.json does not grant permissions.clocks")
    );
    place.assert_clean();
}

#[test]
fn a_load_that_is_refused_is_in_the_audit_log() {
    let place = Place::new();
    place.echo();
    let writes = place.path("manifests");
    place.component("echo", json!({"permissions": {"filesystem": [{"path": writes, "guest": "/x", "mode": "write"}]}}));
    let ran = place.run(&["run", "--audit", "audit.jsonl", "echo", "text=a"]);
    assert_eq!(ran.assert_status(5).stderr.matches("decides which code runs").count(), 1, "{}", ran.all());
    let found = denials(&place);
    let [(permission, manifest, reason)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((permission.as_str(), manifest.ends_with("manifests/echo.json")), ("load", true), "{found:?}");
    assert!(reason.contains("decides which code runs"), "{reason}");
    let logged = place.run(&["logs", "echo", "--level", "error"]);
    assert!(logged.assert_status(0).stdout.contains("the plugin was not loaded (denied): "), "{}", logged.all());
    std::fs::remove_file(place.path("audit.jsonl")).unwrap();
    place.component("echo", json!({}));
    std::fs::write(place.path("manifests/echo.wasm"), "noise").unwrap();
    place.run(&["run", "--audit", "audit.jsonl", "echo", "text=a"]).assert_status(4);
    assert_eq!(denials(&place)[0].0, "load");
}

#[test]
fn a_policy_that_enforces_what_this_machine_cannot_hold_is_told_before_a_run() {
    let place = place(json!({}));
    place.write("policy.json", r#"{"confine": true, "enforce": true}"#);
    let told = "the host's policy policy.json has `enforce`, which this machine cannot do: ";
    let validated = place.run(&["validate", "manifests/reads.json", "--policy", "policy.json"]);
    assert!(validated.assert_status(4).stdout.contains(told), "{}", validated.all());
    let info = place.run(&["info", "reads", "--policy", "policy.json"]);
    assert!(info.assert_status(0).stderr.contains(told), "{}", info.all());
    let doctor = place.run(&["doctor", "--policy", "policy.json"]);
    assert!(doctor.assert_status(1).stdout.contains(&format!("reads would not be loaded: {told}")), "{}", doctor.all());
    place.run(&["validate", "manifests/reads.json"]).assert_status(0);
    // The same for several plugins is told once.
    let other = std::fs::read_to_string(place.path("manifests/reads.json")).unwrap().replace("reads", "other");
    place.write("manifests/other.json", &other);
    let doctor = place.run(&["doctor", "--policy", "policy.json"]);
    let told = format!("other, reads would not be loaded: {told}");
    assert!(doctor.assert_status(1).stdout.contains(&told), "{}", doctor.all());
}

#[test]
fn another_document_given_as_the_policy_is_told_as_what_it_is() {
    let place = place(json!({}));
    place.write("pipeline.json", r#"{"name": "p", "steps": [{"id": "a", "plugin": "reads"}]}"#);
    place.write("other.json", r#"{"colour": 1}"#);
    for (file, told) in [
        ("manifests/reads.json", "manifests/reads.json is the manifest of a plugin, not a host policy"),
        ("pipeline.json", "pipeline.json is a pipeline, not a host policy"),
        ("other.json", "unknown key \"colour\""),
    ] {
        for command in ["list", "doctor"] {
            let ran = place.run(&[command, "--policy", file]);
            assert!(ran.status != 0 && format!("{}{}", ran.stdout, ran.stderr).contains(told), "{}", ran.all());
        }
    }
}

#[test]
fn a_variable_that_is_withheld_is_told_with_who_withholds_it() {
    let place = Place::new();
    let source = "import os\nclass Env:\n    def execute(self): return os.environ['MY_KEY']\n";
    place.write("manifests/env.py", source);
    let run = |keys: &Value, policy: &Value| {
        let mut manifest = json!({"name": "env", "version": "1", "module": "env", "class": "Env", "source": "."});
        manifest.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        place.write("manifests/env.json", &manifest.to_string());
        place.write("policy.json", &policy.to_string());
        place.ran(place.command(&["run", "--policy", "policy.json", "env"]).env("MY_KEY", "1").output().unwrap())
    };
    let passes = json!({"pass_env": ["MY_*"]});
    assert_eq!(run(&passes, &json!({})).assert_status(0).json(), "1");
    for (keys, policy, told) in [
        (
            json!({}),
            json!({}),
            "the host has the variable MY_KEY and keeps it from the plugin: name it in `pass_env` of its manifest",
        ),
        (
            passes.clone(),
            json!({"permissions": {}}),
            "the host's policy policy.json does not grant MY_* (pass_env): change the policy",
        ),
        (
            passes.clone(),
            json!({"confine": true}),
            "the host's policy policy.json has `confine`, and the plugin's manifest has no `permissions`: add those",
        ),
        (json!({"permissions": {}}), json!({}), "name it in `permissions.env` of its manifest"),
        (
            json!({"permissions": {"env": ["MY_KEY", "OTHER"]}}),
            json!({"permissions": {}}),
            "names it in `permissions.env`; the host's policy policy.json does not grant MY_KEY (permissions.env): change the policy",
        ),
    ] {
        let ran = run(&keys, &policy);
        assert!(ran.assert_status(1).stderr.contains("KeyError: 'MY_KEY'; the host has"), "{}", ran.all());
        assert!(ran.stderr.contains(told), "{keys} {policy}: {}", ran.all());
    }
    let info = |keys: &Value| {
        run(keys, &json!({"confine": true}));
        place.run(&["info", "env", "--policy", "policy.json"]).assert_status(0).stdout.clone()
    };
    assert!(
        info(&passes)
            .contains("missing       the host's policy policy.json with `confine` does not grant MY_* (pass_env)")
    );
}

#[test]
fn a_policy_of_which_nothing_could_run_is_refused_with_its_line() {
    let place = place(json!({}));
    for (limits, told) in [
        ("\"call_ms\": 0", "line 2: limits.call_ms must be from 1 to"),
        ("\"memory_mb\": -3", "line 2: limits.memory_mb must be from 1 to"),
    ] {
        place.write("policy.json", &format!("{{\"limits\": {{\n{limits}}}}}"));
        for args in [["run", "--policy", "policy.json", "reads"].as_slice(), &["validate", "policy.json"]] {
            let ran = place.run(args);
            assert!(ran.assert_status(4).all().contains(told), "{}", ran.all());
        }
    }
    place.write("policy.json", r#"{"limits": {"connections": 0, "cache_mb": 0}}"#);
    place.run(&["validate", "policy.json"]).assert_status(0);
}

#[test]
fn a_disabled_plugin_is_refused_before_anything_of_it_runs() {
    let place = place(json!({"requirements": ["no-such-package-anywhere==1"]}));
    place.run(&["disable", "reads"]).assert_status(0);
    let ran = place.run(&["run", "reads", "path=x"]);
    assert!(
        ran.assert_status(7).stderr.contains("the plugin is disabled") && !ran.stderr.contains("environment"),
        "{}",
        ran.all()
    );
    place.assert_clean();
}
