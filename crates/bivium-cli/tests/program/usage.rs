//! Wrong command lines and what is not there: one clear sentence and the documented status.

use crate::place::Place;

#[test]
fn a_wrong_command_line_has_status_2() {
    let place = Place::new();
    for args in [
        &["nonsense"] as &[_],
        &[],
        &["run"],
        &["run", "x", "no-assignment"],
        &["run", "x", "n:=one"],
        &["run", "x", "--timeout", "soon"],
        &["run", "x", "a=1", "a=2"],
        &["run", "x", "--force"],
        &["run", "x", "--config", "file@=x"],
        &["config", "set", "x"],
        &["list", "-v", "-q"],
    ] {
        let ran = place.run(args);
        ran.assert_status(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{args:?}: {}", ran.all());
    }
    insta::assert_snapshot!(place.run(&["run", "x", "a=1", "a=2"]).all(), @"");
}

#[test]
fn help_teaches() {
    let place = Place::new();
    for command in ["run", "stream", "pipeline run"] {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let ran = place.run(&args);
        assert!(ran.assert_status(0).stdout.contains("Examples:") && ran.stdout.contains("key@=PATH"), "{}", ran.all());
    }
}

#[test]
fn an_unknown_plugin_has_status_3() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["run", "redact"]).all(), @"");
    place.component("redact", serde_json::json!({}));
    insta::assert_snapshot!(place.run(&["info", "reduct", "--no-load"]).all(), @"");
    insta::assert_snapshot!(place.run(&["enable", "reduct", "--output", "json"]).all(), @"");
    place.assert_clean();
}

#[test]
fn a_missing_file_has_status_3() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["run", "x", "audio@=none.wav"]).all(), @"");
    insta::assert_snapshot!(place.run(&["run", "x", "--json", "none.json"]).all(), @"");
    insta::assert_snapshot!(place.run(&["pipeline", "run", "none.json"]).all(), @"");
}

#[test]
fn input_that_is_no_object_has_status_4() {
    let place = Place::new();
    insta::assert_snapshot!(place.run_with_input(&["run", "x", "--json", "-"], "[1]").all(), @"");
    let ran = place.run_with_input(&["run", "x", "--json", "-", "--output=json"], "{");
    insta::assert_snapshot!(ran.all(), @"");
}

#[test]
fn a_directory_for_results_that_holds_something_is_refused_before_any_work() {
    let place = Place::new();
    place.write("manifests/x.json", "{}");
    insta::assert_snapshot!(place.run(&["run", "x", "--out", "manifests"]).all(), @"");
}

#[test]
fn an_invalid_manifest_lists_every_problem() {
    let place = Place::new();
    place.write("manifests/broken.json", "{\n  \"name\": \"broken\",\n  \"verison\": \"1\",\n  \"component\": 7\n}");
    insta::assert_snapshot!(place.run(&["run", "broken"]).all(), @"");
    insta::assert_snapshot!(place.run(&["run", "manifests/broken.json"]).all(), @"");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    place.component("redact", serde_json::json!({}));
    let mut child = place.command(&["list"]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = place.ended(child);
    assert_eq!((ran.assert_status(0).stderr.as_str(), ran.stdout.as_str()), ("", ""));
}
