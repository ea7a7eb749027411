//! Variables, arguments and paths that are not UTF-8: no command panics, and none shows a value.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use serde_json::json;

use crate::place::{Place, Ran};

/// Not UTF-8, with a part that can be found wherever it is shown.
const HIDDEN: &[u8] = b"\xff\xfehidden-value";

fn hidden() -> &'static OsStr {
    OsStr::from_bytes(HIDDEN)
}

fn place() -> Place {
    let place = Place::with_probe();
    let pipeline = json!({"name": "p", "steps": [{"id": "one", "plugin": "probe", "args": {"a": "b"}}]});
    place.write("pipeline.json", &pipeline.to_string());
    place
}

/// A command line for every command, and its status here.
const COMMANDS: &[(&[&str], i32)] = &[
    (&["list"], 0),
    (&["list", "--output=json"], 0),
    (&["info", "probe"], 0),
    (&["info", "probe", "--load"], 0),
    (&["run", "probe", "a=b"], 0),
    (&["stream", "probe", "count:=1"], 0),
    (&["validate", "manifests"], 0),
    (&["config", "get", "probe"], 0),
    (&["config", "set", "probe", "mask=*"], 0),
    (&["config", "schema", "probe"], 0),
    (&["disable", "probe"], 0),
    (&["enable", "probe"], 0),
    (&["compile", "probe"], 4),
    (&["logs", "probe"], 0),
    (&["pipeline", "run", "pipeline.json"], 0),
    (&["import-cjm", "manifests"], 0),
    (&["doctor"], 0),
    (&["help"], 0),
];

#[track_caller]
fn assert_harmless(ran: &Ran, what: &str) {
    let said = ran.all();
    assert!(!said.contains("panicked") && !said.contains("hidden-value"), "{what}: {said}");
}

#[test]
fn unrelated_variables_make_no_difference_to_any_command() {
    let place = place();
    for (args, status) in COMMANDS {
        let mut command = place.command(args);
        command.env("UNRELATED", hidden()).env(OsStr::from_bytes(b"UN\xffRELATED"), "hidden-value");
        let ran = place.ran(command.output().unwrap());
        assert_harmless(&ran, args[0]);
        ran.assert_status(*status);
    }
    place.assert_clean();
}

#[test]
fn variables_of_bivium_that_are_not_utf8_give_one_sentence_or_no_difference() {
    let place = place();
    for name in ["MANIFESTS", "DATA_DIR", "ENVIRONMENTS", "POLICY", "AUDIT", "CACHE", "LOG", "SECRETS_FD"] {
        for (args, _) in COMMANDS {
            let mut command = place.command(args);
            command.env(format!("BIVIUM_{name}"), hidden());
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "BIVIUM_{name} {args:?}: {said}");
            assert!(output.status.code().is_some_and(|status| status < 8), "BIVIUM_{name} {args:?}: {said}");
        }
    }
    let ran = place.ran(place.command(&["list"]).env("BIVIUM_LOG", hidden()).output().unwrap());
    assert!(ran.assert_status(0).stderr.contains("BIVIUM_LOG is not a valid filter"), "{}", ran.all());
    assert_harmless(&ran, "BIVIUM_LOG");
}

#[test]
fn a_secret_that_is_no_text_is_named_and_not_shown() {
    let place = place();
    for args in [&["list"] as &[_], &["info", "probe"], &["run", "probe"]] {
        let ran = place.ran(place.command(args).env("BIVIUM_SECRET_KEY", hidden()).output().unwrap());
        assert_harmless(&ran, args[0]);
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.all(), @"
            4
            --- stdout
            --- stderr
            bivium: the value of the environment variable BIVIUM_SECRET_KEY is not UTF-8, which a secret must be; encode it, for example as base64, or unset it
            ");
        }
    }
    let name = OsStr::from_bytes(b"BIVIUM_SECRET_\xff");
    let ran = place.ran(place.command(&["list"]).env(name, "hidden-value").output().unwrap());
    assert_harmless(&ran, "name");
    assert!(
        ran.assert_status(4).stderr.contains("the name of the environment variable BIVIUM_SECRET_"),
        "{}",
        ran.all()
    );
    place.assert_clean();
}

#[test]
fn arguments_are_refused_or_taken_as_paths() {
    let place = place();
    let bad = |start: &str| OsString::from_iter([OsStr::new(start), hidden()]);
    for args in [
        vec![bad("")],
        vec!["info".into(), bad("")],
        vec!["run".into(), "probe".into(), bad("key=")],
        vec!["run".into(), "probe".into(), bad("file@=")],
        vec!["run".into(), "probe".into(), "--json".into(), bad("")],
        vec!["run".into(), "probe".into(), "--out".into(), bad("")],
        vec!["list".into(), "--manifests".into(), bad("")],
        vec!["list".into(), "--category".into(), bad("")],
        vec!["validate".into(), bad("")],
        vec!["validate".into(), "--output=json".into(), bad("")],
        vec!["compile".into(), bad("")],
        vec!["config".into(), "set".into(), "probe".into(), bad("key=")],
        vec!["pipeline".into(), "run".into(), bad("")],
        vec!["import-cjm".into(), bad("")],
        vec!["logs".into(), bad("")],
    ] {
        let output = place.command(&[]).args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        assert!(output.status.code().is_some_and(|status| status < 8), "{args:?}: {said}");
    }
}

#[test]
fn manifests_below_a_directory_whose_name_is_not_utf8_are_shown() {
    let place = place();
    let dir: PathBuf = place.path("").join(OsStr::from_bytes(b"odd\xff"));
    std::fs::create_dir(&dir).unwrap();
    let manifest = json!({"name": "odd", "version": "1", "component": "odd.wasm",
        "permissions": {"filesystem": [{"path": "data", "guest": "/d"}]}});
    std::fs::write(dir.join("odd.json"), manifest.to_string()).unwrap();
    std::fs::write(dir.join("broken.json"), "{").unwrap();
    std::fs::write(dir.join("odd.wasm"), "none").unwrap();
    for (args, status) in [
        (&["list"] as &[_], 0),
        (&["list", "--output=json"], 0),
        (&["info", "odd"], 0),
        (&["info", "odd", "--output=json"], 0),
        (&["info", "odd", "--load", "--output=json"], 0),
        (&["compile", "odd"], 4),
        (&["doctor", "--output=json"], 1),
        (&["disable", "odd", "--output=json"], 0),
    ] {
        let ran = place.ran(place.command(args).env("BIVIUM_MANIFESTS", &dir).output().unwrap());
        assert_harmless(&ran, args[0]);
        ran.assert_status(status);
    }
    std::fs::create_dir_all(dir.join(".cjm/manifests")).unwrap();
    std::fs::write(dir.join(".cjm/manifests/broken.json"), "{").unwrap();
    for args in [&["validate", "--output=json"] as &[_], &["import-cjm", "--output=json"]] {
        let ran = place.ran(place.command(args).arg(&dir).output().unwrap());
        assert_harmless(&ran, args[0]);
        assert!(ran.stdout.contains("odd\u{fffd}"), "{}", ran.all());
    }
    place.assert_clean();
}
