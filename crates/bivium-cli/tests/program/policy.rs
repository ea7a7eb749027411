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
    let told = "reads: the host's policy policy.json has `enforce`, and this machine cannot enforce all permissions and \
                limits of the plugin's worker: ";
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
    for (policy, is_told) in [(r#"{"permissions": {}}"#, true), (r#"{"limits": {}}"#, false)] {
        place.write("policy.json", policy);
        let ran = place.run(&[RUN.as_slice(), &[&path]].concat());
        assert_eq!((ran.status, ran.stderr.contains(warning)), (0, is_told), "{policy}: {}", ran.all());
    }
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
