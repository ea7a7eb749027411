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
    insta::assert_snapshot!(place.run(&["run", "x", "a=1", "a=2"]).all(), @r#"
    2
    --- stdout
    --- stderr
    bivium: the argument "a" is given twice; see `bivium help`
    "#);
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
    insta::assert_snapshot!(place.run(&["run", "redact"]).all(), @r#"
    3
    --- stdout
    --- stderr
    bivium: there is no plugin "redact"; no manifest lies in [DIR]/manifests
    "#);
    place.component("redact", serde_json::json!({}));
    insta::assert_snapshot!(place.run(&["info", "reduct", "--no-load"]).all(), @r#"
    3
    --- stdout
    --- stderr
    bivium: there is no plugin "reduct"; known are redact; searched [DIR]/manifests
    "#);
    insta::assert_snapshot!(place.run(&["enable", "reduct", "--output", "json"]).all(), @r#"
    3
    --- stdout
    --- stderr
    {"code":"not-found","message":"there is no plugin \"reduct\"","help":"known are redact; searched [DIR]/manifests"}
    "#);
    place.assert_clean();
}

#[test]
fn a_missing_file_has_status_3() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["run", "x", "audio@=none.wav"]).all(), @"
    3
    --- stdout
    --- stderr
    bivium: cannot use the file none.wav as a blob: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(place.run(&["run", "x", "--json", "none.json"]).all(), @"
    3
    --- stdout
    --- stderr
    bivium: cannot read the arguments from none.json: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(place.run(&["pipeline", "run", "none.json"]).all(), @"
    3
    --- stdout
    --- stderr
    bivium: cannot read the pipeline none.json: No such file or directory (os error 2)
    ");
}

#[test]
fn input_that_is_no_object_has_status_4() {
    let place = Place::new();
    insta::assert_snapshot!(place.run_with_input(&["run", "x", "--json", "-"], "[1]").all(), @"
    4
    --- stdout
    --- stderr
    bivium: the arguments in standard input are no JSON object: it is another JSON value
    ");
    let ran = place.run_with_input(&["run", "x", "--json", "-", "--output=json"], "{");
    insta::assert_snapshot!(ran.all(), @r#"
    4
    --- stdout
    --- stderr
    {"code":"invalid-input","message":"the arguments in standard input are no JSON object: EOF while parsing an object at line 1 column 1"}
    "#);
}

#[test]
fn a_directory_for_results_that_holds_something_is_refused_before_any_work() {
    let place = Place::new();
    place.write("manifests/x.json", "{}");
    insta::assert_snapshot!(place.run(&["run", "x", "--out", "manifests"]).all(), @"
    4
    --- stdout
    --- stderr
    bivium: the directory manifests for the result's files is not empty; name a new one, or let files of the same names be replaced with --force
    ");
}

#[test]
fn an_invalid_manifest_lists_every_problem() {
    let place = Place::new();
    place.write("manifests/broken.json", "{\n  \"name\": \"broken\",\n  \"verison\": \"1\",\n  \"component\": 7\n}");
    insta::assert_snapshot!(place.run(&["run", "broken"]).all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: broken: [DIR]/manifests/broken.json is not a valid manifest
      line 1: version is missing
      line 3: unknown key "verison"; did you mean `version`?
      line 4: component must be a string, not 7
    "#);
    insta::assert_snapshot!(place.run(&["run", "manifests/broken.json"]).all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: manifests/broken.json is not a valid manifest
      line 1: version is missing
      line 3: unknown key "verison"; did you mean `version`?
      line 4: component must be a string, not 7
    "#);
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
