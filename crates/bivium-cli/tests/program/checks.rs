//! `list`, `info`, `validate` and `doctor`, which do not need a plugin that starts.

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
fn list_is_a_table_and_warns_about_files_that_are_not_manifests() {
    let place = place_with_two();
    place.write("manifests/other.json", "{");
    insta::assert_snapshot!(place.run(&["list"]).all(), @"
    0
    --- stdout
    NAME     VERSION  RUNTIME  CATEGORY       ENABLED  DESCRIPTION
    redact   1.0.0    wasm     text           yes      Masks what matches patterns
    whisper  0.2      python   transcription  yes      Speech to text
    --- stderr
    bivium: warning: [DIR]/manifests/other.json is not a valid manifest
      line 1: this is not JSON: EOF while parsing an object at column 1
    ");
    insta::assert_snapshot!(place.run(&["list", "--category", "nothing"]).all(), @r#"
    0
    --- stdout
    --- stderr
    bivium: warning: [DIR]/manifests/other.json is not a valid manifest
      line 1: this is not JSON: EOF while parsing an object at column 1
    There is no plugin of category "nothing" in [DIR]/manifests.
    "#);
    let ran = place.run(&["list", "--category=text", "--output=json"]);
    let list = ran.assert_status(0).json();
    assert_eq!(list["plugins"][0]["name"], "redact", "{}", ran.all());
    assert_eq!(list["plugins"].as_array().unwrap().len(), 1);
    assert_eq!(list["problems"][0]["error"]["code"], "invalid-manifest");
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""));
}

#[test]
fn two_manifests_of_one_name_in_a_directory_are_refused_with_both_paths() {
    let place = place_with_two();
    place.write("manifests/mask.json", r#"{"name": "redact", "version": "2", "component": "redact.wasm"}"#);
    for command in ["run", "info", "config get", "disable", "compile"] {
        let args: Vec<&str> = command.split(' ').chain(["redact"]).collect();
        let ran = place.run(&args);
        for file in ["mask.json", "redact.json"] {
            assert!(ran.assert_status(4).stderr.contains(&format!("[DIR]/manifests/{file}")), "{}", ran.all());
        }
    }
    insta::assert_snapshot!(place.run(&["list"]).all(), @r#"
    0
    --- stdout
    NAME     VERSION  RUNTIME  CATEGORY       ENABLED  DESCRIPTION
    whisper  0.2      python   transcription  yes      Speech to text
    --- stderr
    bivium: warning: redact: [DIR]/manifests/redact.json declares a plugin "redact", and so does [DIR]/manifests/mask.json; rename or remove all but one
    "#);
    let ran = place.run(&["validate", "manifests"]);
    let told = "redact.json declares a plugin \"redact\", and so does [DIR]/manifests/mask.json";
    assert!(ran.assert_status(4).stdout.contains(told), "{}", ran.all());
    // Each can be used if it is given by its path.
    place.run(&["info", "manifests/mask.json", "--no-load"]).assert_status(0);
}

#[test]
fn a_manifest_of_another_name_than_its_directorys_is_told_by_list_validate_and_run() {
    let place = place_with_two();
    std::fs::create_dir(place.path("manifests/greeter")).unwrap();
    place.write(
        "manifests/greeter/manifets.json",
        r#"{"name": "greeter", "version": "1", "component": "greeter.wasm"}"#,
    );
    let listed = "One manifest there is not found, because of its file's name; `bivium validate DIR` says why.\n";
    assert_eq!(place.run(&["list"]).assert_status(0).stderr, listed);
    let told = "manifests/greeter/manifets.json: passed over, a manifest that is not looked for: in a subdirectory the only \
                one is named as the directory, NAME/NAME.json\n";
    let validated = place.run(&["validate", "manifests"]);
    assert!(validated.assert_status(0).stdout.contains(told), "{}", validated.all());
    let ran = place.run(&["run", "greeter"]);
    let told = "there is no plugin \"greeter\"; [DIR]/manifests/greeter/manifets.json is not read, because a manifest in a subdirectory";
    assert!(ran.assert_status(3).stderr.contains(told), "{}", ran.all());
    std::fs::rename(place.path("manifests/greeter/manifets.json"), place.path("manifests/greeter/greeter.json"))
        .unwrap();
    assert_eq!(place.run(&["list"]).assert_status(0).stderr, "");
}

#[test]
fn other_files_among_manifests_are_passed_over() {
    let place = place_with_two();
    place.write("manifests/._redact.json", "\0\u{5}");
    place.write("manifests/package.json", r#"{"name": "x", "version": "1", "private": true}"#);
    place.write("manifests/captions.json", r#"{"name": "captions", "steps": [{"id": "one", "plugin": "redact"}]}"#);
    let ran = place.run(&["list"]);
    assert_eq!(
        ran.assert_status(0).stderr,
        "`bivium pipeline list` lists the pipelines there.\n\
         2 files there are not manifests and were passed over; `bivium validate DIR` says why.\n"
    );
    assert_eq!(place.run(&["list", "-q"]).stderr, "");
    let json = place.run(&["list", "--output=json"]).json();
    assert_eq!((json["passed_over"].as_array().unwrap().len(), &json["problems"]), (3, &json!([])));
    place.run(&["enable", "redact"]).assert_status(0);
    insta::assert_snapshot!(place.run(&["validate", "manifests"]).all(), @"
    0
    --- stdout
    [DIR]/manifests/redact.json: ok, plugin redact, with 1 warning
    [DIR]/manifests/redact.json: warning: component: [DIR]/manifests/redact.wasm does not exist
    [DIR]/manifests/whisper.json: ok, plugin whisper
    manifests/._redact.json: passed over, a hidden file
    manifests/captions.json: ok, pipeline captions
    manifests/package.json: passed over, a file of another program
    --- stderr
    ");
}

#[test]
fn the_command_line_is_before_the_environment() {
    let place = place_with_two();
    let ran = place.run(&["list", "--manifests", "data"]);
    insta::assert_snapshot!(ran.all(), @"
    0
    --- stdout
    --- stderr
    There is no plugin in data.
    ");
}

#[test]
fn info_shows_the_manifest_without_starting_anything() {
    let place = place_with_two();
    // Quiet, because a machine without a GPU is told otherwise.
    insta::assert_snapshot!(place.run(&["info", "whisper", "--no-load", "-q"]).all(), @"
    0
    --- stdout
    whisper 0.2
    Speech to text
      category      transcription
      runtime       python
      class         Whisper in whisper_plugin
      requirements  openai-whisper==1
      manifest      [DIR]/manifests/whisper.json
      enabled       yes
      needs         a GPU, 4096 MiB of GPU memory
      permissions   unconfined: it may do everything that you may
      limits        cache_mb 32768
    --- stderr
    ");
    let permissions = json!({"filesystem": [{"path": "/srv/data", "guest": "/data"}], "network": ["https://example.com"],
        "env": ["LANG"], "clocks": true});
    place.component("fetch", json!({"permissions": permissions, "limits": {"memory_mb": 64, "call_ms": 5000}}));
    insta::assert_snapshot!(place.run(&["info", "manifests/fetch.json", "--no-load"]).all(), @"
    0
    --- stdout
    fetch 1.0.0
      runtime       wasm
      component     [DIR]/manifests/fetch.wasm
      manifest      [DIR]/manifests/fetch.json
      enabled       yes
      permissions   read /srv/data as /data; connect to https://example.com; see $LANG; read clocks
      granted       all of it
      limits        memory_mb 64, table_elements 60000, core_instances 100, memories 8, tables 64, stack_kb 512, call_ms 5000, component_mb 64, compile_s 120, payload_mb 16, blob_mb 1024, blobs 1024, files 256, connections 16, response_mb 64, log_records 1000, queue 1024
    --- stderr
    ");
    let json = place.run(&["info", "fetch", "--no-load", "--output", "json"]).assert_status(0).json();
    assert_eq!((&json["manifest"]["name"], &json["confined"]), (&"fetch".into(), &true.into()));
}

#[test]
fn info_shows_what_the_hosts_policy_leaves_of_a_manifest() {
    let place = place_with_two();
    let permissions = json!({"filesystem": [{"path": "/srv/data", "guest": "/data", "mode": "write"}],
        "network": ["https://example.com"], "env": ["LANG"], "clocks": true});
    place.component("fetch", json!({"permissions": permissions, "limits": {"memory_mb": 64}}));
    let policy = json!({"permissions": {"filesystem": [{"path": "/srv", "guest": "/"}], "env": ["LANG"]},
        "limits": {"memory_mb": 32}, "confine": true});
    place.write("policy.json", &policy.to_string());
    insta::assert_snapshot!(place.run(&["info", "fetch", "--no-load", "--policy", "policy.json"]).all(), @"
    0
    --- stdout
    fetch 1.0.0
      runtime       wasm
      component     [DIR]/manifests/fetch.wasm
      manifest      [DIR]/manifests/fetch.json
      enabled       yes
      permissions   read and write /srv/data as /data; connect to https://example.com; see $LANG; read clocks
      granted       read /srv/data as /data; see $LANG
      missing       the host's policy policy.json does not grant read and write /srv/data (permissions.filesystem); the most that it grants is read /srv/data
      missing       the host's policy policy.json does not grant https://example.com (permissions.network)
      missing       the host's policy policy.json does not grant permissions.clocks
      missing       the host's policy policy.json does not grant 64 (limits.memory_mb); the most that it grants is 32
      limits        memory_mb 32, table_elements 60000, core_instances 100, memories 8, tables 64, stack_kb 512, component_mb 64, compile_s 120, payload_mb 16, blob_mb 1024, blobs 1024, files 256, connections 16, response_mb 64, log_records 1000, queue 1024
    --- stderr
    ");
    let json = place.run(&["info", "fetch", "--no-load", "--policy", "policy.json", "--output=json"]).json();
    assert_eq!(json["manifest"]["permissions"]["clocks"], true);
    assert_eq!(
        (&json["granted"]["permissions"]["clocks"], &json["granted"]["limits"]["memory_mb"]),
        (&false.into(), &32.into())
    );
    assert_eq!(json["granted"]["refused"].as_array().unwrap().len(), 4);
    let whisper = place.run(&["info", "whisper", "--no-load", "--policy", "policy.json"]);
    assert!(whisper.stdout.contains("permissions   none"), "{}", whisper.all());
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
fn pipelines_among_the_manifests_are_listed_and_found_by_name() {
    let place = place_with_two();
    let steps = r#""steps": [{"id": "one", "plugin": "redact", "args": {"text": {"$from": "inputs/text"}}}]"#;
    let pipeline =
        format!(r#"{{"name": "mask", "description": "Masks", "inputs": {{"text": {{}}, "more": {{}}}}, {steps}}}"#);
    place.write("manifests/one.json", &pipeline);
    place.write("manifests/broken.json", r#"{"name": "broken", "steps": []}"#);
    insta::assert_snapshot!(place.run(&["pipeline", "list"]).all(), @"
    0
    --- stdout
    NAME  STEPS  INPUTS      DESCRIPTION  FILE
    mask  1      more, text  Masks        [DIR]/manifests/one.json
    --- stderr
    bivium: warning: [DIR]/manifests/broken.json: not a valid pipeline
      line 1: steps: there must be at least one step
    ");
    let json = place.run(&["pipeline", "list", "--output=json"]).assert_status(0).json();
    assert_eq!(json["pipelines"][0]["plugins"], json!(["redact"]), "{json}");
    assert_eq!(json["problems"][0]["error"]["code"], "invalid-input", "{json}");

    let checked = place.run(&["pipeline", "check", "mask"]);
    assert!(checked.assert_status(4).stderr.contains("steps.0.plugin: "), "{}", checked.all());
    let meant = place.run(&["pipeline", "run", "maks"]);
    assert!(meant.assert_status(3).stderr.contains("did you mean \"mask\"?"), "{}", meant.all());
    let broken = place.run(&["pipeline", "run", "broken"]);
    assert!(broken.assert_status(4).stderr.contains("at least one step"), "{}", broken.all());
    place.write("manifests/two.json", &pipeline);
    let twice = place.run(&["pipeline", "run", "mask"]);
    twice.assert_status(4);
    assert!(["one.json", "two.json"].iter().all(|file| twice.stderr.contains(file)), "{}", twice.all());
}

#[test]
fn validate_reports_every_problem_of_every_file() {
    let place = place_with_two();
    place.write("pipeline.json", r#"{"name": "captions", "steps": [{"id": "one", "plugin": "redact"}]}"#);
    let valid = ["validate", "manifests", "manifests/redact.json", "pipeline.json"];
    insta::assert_snapshot!(place.run(&valid).all(), @"
    0
    --- stdout
    [DIR]/manifests/redact.json: ok, plugin redact, with 1 warning
    [DIR]/manifests/redact.json: warning: component: [DIR]/manifests/redact.wasm does not exist
    [DIR]/manifests/whisper.json: ok, plugin whisper
    manifests/redact.json: ok, plugin redact, with 1 warning
    manifests/redact.json: warning: component: [DIR]/manifests/redact.wasm does not exist
    pipeline.json: ok, pipeline captions
    --- stderr
    ");

    place.write("broken.json", "{\"name\": \"a\",\n \"versoin\": \"1\",\n \"instances\": {\"max\": 0}}");
    place.write("steps.json", r#"{"name": "p", "steps": [{"id": "inputs", "plugin": "x", "for_each": "y"}]}"#);
    let invalid = ["validate", "broken.json", "steps.json", "missing.json", "manifests/redact.json"];
    insta::assert_snapshot!(place.run(&invalid).all(), @r#"
    4
    --- stdout
    broken.json: line 1: version is missing
    broken.json: line 1: nothing says what to run: give component (a .wasm file), or module and class, or function (in Python)
    broken.json: line 2: unknown key "versoin"; did you mean `version`?
    broken.json: line 3: instances.max must be from 1 to 1000, not 0
    steps.json: line 1: steps.0.id: "inputs" cannot be the id of a step
    steps.json: line 1: steps.0.for_each: "y" is not an earlier step; there is none before it
    missing.json: there is no manifest missing.json; check the path, or see `bivium list`
    manifests/redact.json: ok, plugin redact, with 1 warning
    manifests/redact.json: warning: component: [DIR]/manifests/redact.wasm does not exist
    --- stderr
    "#);
    let json = place.run(&["validate", "broken.json", "--output=json"]).assert_status(4).json();
    assert_eq!((&json[0]["valid"], &json[0]["error"]["code"]), (&false.into(), &"invalid-manifest".into()));
}

#[test]
fn validate_warns_about_missing_files() {
    let place = Place::new();
    let manifest = |name: &str, keys: serde_json::Value| {
        let mut manifest = json!({"name": name, "version": "1", "module": "words", "class": "Words"});
        manifest.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        place.write(&format!("manifests/{name}.json"), &manifest.to_string());
    };
    manifest("a", json!({"python_path": "venv/bin/python", "source": "src"}));
    manifest("b", json!({"source": "."}));
    manifest("c", json!({"source": "own", "permissions": {"filesystem": [{"path": "/srv/none", "guest": "/data"}]}}));
    std::fs::create_dir(place.path("manifests/own")).unwrap();
    place.write("manifests/own/words.py", "class Words: pass\n");
    insta::assert_snapshot!(place.run(&["validate", "manifests"]).all(), @"
    0
    --- stdout
    [DIR]/manifests/a.json: ok, plugin a, with 2 warnings
    [DIR]/manifests/a.json: warning: python_path: [DIR]/manifests/venv/bin/python does not exist
    [DIR]/manifests/a.json: warning: source: [DIR]/manifests/src does not exist
    [DIR]/manifests/b.json: ok, plugin b, with 1 warning
    [DIR]/manifests/b.json: warning: module: the module words is not in [DIR]/manifests
    [DIR]/manifests/c.json: ok, plugin c, with 1 warning
    [DIR]/manifests/c.json: warning: permissions.filesystem: /srv/none does not exist
    --- stderr
    ");
    let json = place.run(&["validate", "manifests/a.json", "--output=json"]).assert_status(0).json();
    assert_eq!((json[0]["valid"].clone(), json[0]["warnings"].as_array().unwrap().len()), (true.into(), 2));
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
    insta::assert_snapshot!(fails.join("\n"), @"
    FAIL  manifests: [DIR]/manifests/other.json is not a valid manifest: line 1: this is not JSON: EOF while parsing an object at column 1
    FAIL  manifests: redact cannot start: [DIR]/manifests/redact.wasm does not exist
    ");
    assert_eq!(place.run(&["doctor", "--output", "json"]).assert_status(1).json()["ok"], false);
    place.write("file", "");
    for (dir, told) in [("file", "file is not a directory; name"), ("file/a/b", "file is not a directory, so that ")] {
        let ran = place.run(&["doctor", "--data-dir", dir]);
        let line = ran.assert_status(1).stdout.lines().find(|line| line.starts_with("FAIL  data directory: "));
        assert!(line.is_some_and(|line| line.contains(told)), "{}", ran.all());
    }
    place.assert_clean();
}
