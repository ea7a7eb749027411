//! `validate` and `info` report plugins that would not load, without loading them.

use serde_json::{Value, json};

use crate::place::Place;

/// A place with a module `words`, and a function that writes manifests of plugins in it.
fn place() -> Place {
    let place = Place::new();
    place.write("manifests/words.py", "class Words:\n    def execute(self, text: str): return text\n");
    place
}

fn python(place: &Place, name: &str, keys: Value) {
    let mut manifest = json!({"name": name, "version": "1", "module": "words", "class": "Words", "source": "."});
    manifest.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    place.write(&format!("manifests/{name}.json"), &manifest.to_string());
}

#[test]
fn validate_warns_about_a_file_that_is_not_a_component() {
    let place = Place::new();
    let files: [(&str, &[u8]); 4] =
        [("core", b"\0asm\x01\0\0\0"), ("cut", b"\0asm\x0d\0\x01\0\0\x7f"), ("empty", b""), ("text", b"hello")];
    for (name, bytes) in files {
        place.component(name, json!({}));
        std::fs::write(place.path(&format!("manifests/{name}.wasm")), bytes).unwrap();
    }
    place.component("dir", json!({}));
    std::fs::create_dir(place.path("manifests/dir.wasm")).unwrap();
    let ran = place.run(&["validate", "manifests"]);
    let warnings: Vec<&str> =
        ran.assert_status(0).stdout.lines().filter_map(|line| line.split("warning: component: ").nth(1)).collect();
    insta::assert_snapshot!(warnings.join("\n"), @"
    [DIR]/manifests/core.wasm: the file is a core module, not a component; make a component from it with `wasm-tools component new`, or link it with `wasm-component-ld`
    [DIR]/manifests/cut.wasm: the file ends in the middle of the component; build or copy it again
    [DIR]/manifests/dir.wasm is not a regular file; set `component` to a component's `.wasm` file
    [DIR]/manifests/empty.wasm: the file is not WebAssembly; set `component` to a component's `.wasm` file
    [DIR]/manifests/text.wasm: the file is not WebAssembly; set `component` to a component's `.wasm` file
    ");
}

#[test]
fn validate_reports_the_errors_that_loading_would_have() {
    let place = place();
    python(&place, "schema", json!({"config_schema": {"type": "nonsense"}}));
    python(&place, "needs", json!({"requirements": ["numpy>=2", "numpy >>> 2", "x[a"], "requires_python": ">>3"}));
    let granted = json!([{"path": "/proc", "guest": "/p"}, {"path": "/sys/none", "guest": "/s"}]);
    python(&place, "grants", json!({"permissions": {"filesystem": granted}}));
    python(&place, "trusted", json!({}));
    place.component("reads", json!({"permissions": {"filesystem": [{"path": "/dev", "guest": "/d"}]}}));
    insta::assert_snapshot!(place.run(&["validate", "manifests"]).all(), @r#"
    4
    --- stdout
    [DIR]/manifests/grants.json: permissions.filesystem grants /proc, which lies in /proc: the kernel's view of processes; grant a directory that lies elsewhere
    [DIR]/manifests/grants.json: permissions.filesystem grants /sys/none, which lies in /sys: the kernel's view of the machine; grant a directory that lies elsewhere
    [DIR]/manifests/grants.json: permissions.filesystem: /sys/none does not exist
    [DIR]/manifests/reads.json: permissions.filesystem grants /dev, which lies in /dev: devices; grant a directory that lies elsewhere
    [DIR]/manifests/reads.json: component: [DIR]/manifests/reads.wasm does not exist
    [DIR]/manifests/schema.json: schema: the plugin's configuration schema is not valid: "nonsense" is not valid under any of the schemas listed in the 'anyOf' keyword; mend `config_schema` in the manifest or in the plugin
    [DIR]/manifests/trusted.json: ok, plugin trusted
    manifests/needs.json: line 1: requirements[1], "numpy >>> 2", has versions that PEP 440 does not allow: Failed to parse version: no such comparison operator ">>>", must be one of ~= == != <= >= < > ===
    manifests/needs.json: line 1: requirements[2], "x[a", has extras that are not a list of names in brackets
    manifests/needs.json: line 1: requires_python, ">>3", has versions that PEP 440 does not allow: Failed to parse version: no such comparison operator ">>", must be one of ~= == != <= >= < > ===; an example is ">=3.9,<3.14"
    --- stderr
    "#);
    for (name, status) in [("schema", 4), ("needs", 4), ("grants", 5)] {
        let told = place.run(&["validate", &format!("manifests/{name}.json")]).assert_status(4).stdout.clone();
        let ran = place.run(&["run", name, "text=a"]);
        let sentence = ran.assert_status(status).stderr.lines().last().unwrap().trim();
        let sentence = sentence.strip_prefix(&format!("bivium: {name}: ")).unwrap_or(sentence);
        let sentence = sentence.split("; ").next().unwrap();
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
    let json = place.run(&["validate", "manifests/schema.json", "--output=json"]).assert_status(4).json();
    assert_eq!((&json[0]["error"]["code"], &json[0]["valid"]), (&"invalid-config".into(), &false.into()));
    // Directories that the command line names belong to the host, too.
    python(&place, "grants", json!({"permissions": {"filesystem": [{"path": "/srv/data/x", "guest": "/p"}]}}));
    place.run(&["validate", "manifests/grants.json"]).assert_status(0);
    let ran = place.run(&["validate", "manifests/grants.json", "--data-dir", "/srv/data"]);
    assert!(ran.assert_status(4).stdout.contains("the data of plugins"), "{}", ran.all());
}

#[test]
fn validate_reports_everything_that_a_confined_plugin_cannot_import() {
    let place = place();
    std::fs::create_dir_all(place.path("manifests/own")).unwrap();
    let requirements = json!(["a @ git+https://e.example/a", "b", "c @ https://e.example/c.tar.gz"]);
    let manifest = json!({"name": "out", "version": "1", "module": "words", "class": "Words", "source": "..",
        "requirements": requirements, "permissions": {}});
    place.write("manifests/own/out.json", &manifest.to_string());
    insta::assert_snapshot!(place.run(&["validate", "manifests/own/out.json"]).all(), @r#"
    4
    --- stdout
    manifests/own/out.json: requirements[0]: "a @ git+https://e.example/a" would have to be built, which runs its author's code
    manifests/own/out.json: requirements[2]: "c @ https://e.example/c.tar.gz" would have to be built, which runs its author's code
    manifests/own/out.json: `source` ([DIR]/manifests/own/..) is outside the manifest's directory; put the modules beside the manifest, or grant that directory in permissions.filesystem
    --- stderr
    "#);
}

#[test]
fn validate_reports_all_wrong_names_in_a_python_manifest() {
    let place = place();
    std::fs::create_dir_all(place.path("lib")).unwrap();
    place.write("lib/code.py", "class Model:\n    def __init__(self, model, size=1): ...\n");
    std::fs::create_dir_all(place.path("manifests/venv/bin")).unwrap();
    place.write("manifests/venv/bin/python", "");
    python(&place, "class", json!({"class": "Wrods"}));
    python(&place, "file", json!({"source": "words.py", "module": "words.py"}));
    python(&place, "init", json!({"source": "../lib", "module": "code", "class": "Model", "init_args": {"siez": 2}}));
    python(&place, "module", json!({"module": "wrods"}));
    python(&place, "place", json!({"source": "lib", "module": "code", "class": "Model"}));
    python(&place, "python", json!({"python_path": "venv", "source": "../lip"}));
    insta::assert_snapshot!(place.run(&["validate", "manifests"]).all(), @"
    4
    --- stdout
    [DIR]/manifests/class.json: ok, plugin class, with 1 warning
    [DIR]/manifests/class.json: warning: class: the module words has no class Wrods; did you mean `Words`?
    [DIR]/manifests/file.json: ok, plugin file, with 2 warnings
    [DIR]/manifests/file.json: warning: source: [DIR]/manifests/words.py is a file: name its directory
    [DIR]/manifests/file.json: warning: module: words.py is the name of a file: write the name of the module, `words`
    [DIR]/manifests/init.json: init: its constructor needs `model`, and takes no `siez` (did you mean `size`?); give what it takes in `init_args` in [DIR]/manifests/init.json
    [DIR]/manifests/module.json: ok, plugin module, with 1 warning
    [DIR]/manifests/module.json: warning: module: the module wrods is not in [DIR]/manifests; did you mean `words`?
    [DIR]/manifests/place.json: ok, plugin place, with 1 warning
    [DIR]/manifests/place.json: warning: source: [DIR]/manifests/lib does not exist; relative paths start at the manifest's directory: write `../lib` for [DIR]/lib
    [DIR]/manifests/python.json: ok, plugin python, with 2 warnings
    [DIR]/manifests/python.json: warning: python_path: [DIR]/manifests/venv is a directory, not a program: write [DIR]/manifests/venv/bin/python
    [DIR]/manifests/python.json: warning: source: [DIR]/manifests/../lip does not exist; did you mean `lib`?
    --- stderr
    ");
    let ran = place.run(&["run", "module", "text=a"]);
    assert!(ran.assert_status(4).stderr.contains("did you mean 'words'?"), "{}", ran.all());
}

#[test]
fn validate_of_a_policy_says_what_applying_it_says() {
    let place = place();
    place
        .write("manifests/good.policy.json", r#"{"permissions": {"network": ["https://a.example"]}, "confine": true}"#);
    place.write("policy.json", "{\"permissions\": {\"netwrok\": []},\n\"limits\": {\"memory_mb\": \"x\"}}");
    insta::assert_snapshot!(place.run(&["validate", "policy.json", "manifests"]).all(), @r#"
    4
    --- stdout
    policy.json: line 1: unknown key "netwrok" in `permissions`; did you mean `network`?
    policy.json: line 2: limits.memory_mb must be a whole number, not a string
    manifests/good.policy.json: ok, host policy
    --- stderr
    "#);
    let ran = place.run(&["list", "--policy", "policy.json"]);
    assert!(ran.assert_status(4).stderr.contains("line 2: limits.memory_mb must be a whole number"), "{}", ran.all());
    let ran = place.run(&["run", "policy.json"]);
    assert!(ran.assert_status(4).stderr.contains("`--policy policy.json` applies it"), "{}", ran.all());
}

#[test]
fn info_shows_a_plugin_that_would_be_refused_with_the_refusal_and_its_cure() {
    let place = place();
    python(&place, "grants", json!({"permissions": {"filesystem": [{"path": "/proc", "guest": "/p"}]}}));
    let ran = place.run(&["info", "grants"]);
    assert!(ran.assert_status(0).stdout.contains("text: string (required)"), "{}", ran.all());
    let told =
        "permissions.filesystem grants /proc, which lies in /proc: the kernel's view of processes; grant a directory";
    assert!(ran.stderr.contains(told), "{}", ran.all());
    assert_eq!(place.run(&["info", "grants", "-q"]).stderr, "");
    let json = place.run(&["info", "grants", "--output=json"]).assert_status(0).json();
    assert_eq!((&json["refusals"][0]["code"], &json["enabled"]), (&"denied".into(), &true.into()));
    // So is one whose saved settings cannot be read.
    place.run(&["disable", "grants"]).assert_status(0);
    let saved = std::fs::read_dir(place.path("data/settings")).unwrap().map(|entry| entry.unwrap().path());
    for file in saved.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        std::fs::write(file, "{").unwrap();
    }
    let ran = place.run(&["info", "grants"]);
    assert!(ran.assert_status(0).stdout.starts_with("grants 1\n"), "{}", ran.all());
    assert_eq!(ran.stderr.matches("bivium: warning: ").count(), 2, "{}", ran.all());
}

#[test]
fn what_the_machine_lacks_is_told_by_info_and_before_an_environment_is_made() {
    let place = place();
    let resources = json!({"cpu_slots": 4096});
    python(&place, "large", json!({"resources": resources, "requirements": ["no-such-package-of-anyone"]}));
    let told = "no call can start: it needs 4096 processor slots, but the host has ";
    let info = place.run(&["info", "large"]);
    assert!(info.assert_status(0).stderr.contains(told), "{}", info.all());
    let json = place.run(&["info", "large", "--output=json"]).assert_status(0).json();
    assert_eq!(json["refusals"][0]["code"], "resource-exhausted");
    let pipeline = json!({"name": "p", "steps": [{"id": "a", "plugin": "large", "args": {"text": "a"}}]});
    place.write("p.json", &pipeline.to_string());
    let status = place.run(&["run", "large", "text=a"]).status;
    for (command, status) in [(["run", "large", "text=a"], status), (["pipeline", "run", "p.json"], status)] {
        let ran = place.run(&command);
        assert!(ran.assert_status(status).stderr.contains(told), "{}", ran.all());
        assert!(!ran.stderr.contains("environment"), "{}", ran.all());
    }
    let check = place.run(&["pipeline", "check", "p.json"]);
    assert!(check.assert_status(4).stderr.contains(told), "{}", check.all());
    for command in [vec!["stats", "large"], vec!["config", "get", "large"], vec!["info", "large", "--load"]] {
        let ran = place.run(&command);
        assert_eq!(ran.stderr.matches(told).count(), 1, "{}", ran.all());
        assert!(!ran.stderr.contains("environment"), "{}", ran.all());
    }
    // Two runs, the statistics, the configuration and the information.
    let records = place.run(&["logs", "large", "--level", "error"]);
    assert_eq!(records.assert_status(0).stdout.matches(told).count(), 5, "{}", records.all());
    python(&place, "vast", json!({"resources": {"cpu_slots": 4096}}));
    let doctor = place.run(&["doctor"]);
    let warned = format!("warn  manifests: large, vast would not be loaded on this machine: {told}");
    assert_eq!(doctor.assert_status(0).stdout.matches(&warned).count(), 1, "{}", doctor.all());
    assert!(place.run(&["validate", "manifests/vast.json"]).assert_status(0).stdout.ends_with("ok, plugin vast\n"));
    // This machine may have a GPU.
    python(&place, "gpu", json!({"resources": {"requires_gpu": true}}));
    let has_gpu = !place.run(&["doctor"]).stdout.contains("GPU: none found (");
    let info = place.run(&["info", "gpu"]);
    assert_eq!(info.assert_status(0).stderr.contains("it needs a GPU, but the host finds none: "), !has_gpu);
}

#[test]
fn a_plugin_for_another_platform_is_not_loaded_and_an_unknown_one_is_a_warning() {
    let place = place();
    python(
        &place,
        "other",
        json!({"resources": {"platforms": ["win-x64", "darwin"]}, "requirements": ["no-such-package"]}),
    );
    python(&place, "odd", json!({"resources": {"platforms": ["no such thing"]}}));
    let told = "it runs on win-x64 or darwin, and this machine is linux-";
    let ran = place.run(&["run", "other", "text=a"]);
    assert!(ran.assert_status(7).stderr.contains(told) && !ran.stderr.contains("environment"), "{}", ran.all());
    assert!(place.run(&["info", "other"]).assert_status(0).stderr.contains(told));
    place.run(&["validate", "manifests/other.json"]).assert_status(0);
    let odd = place.run(&["validate", "manifests/odd.json"]);
    let warned = "warning: resources.platforms: \"no such thing\" is no platform";
    assert!(odd.assert_status(0).stdout.contains(warned), "{}", odd.all());
    place.run(&["run", "odd", "text=a"]).assert_status(0);
}

#[test]
fn info_shows_how_a_class_that_also_streams_is_called_both_ways() {
    let place = place();
    let both = "class Both:\n    def execute(self, text: str): return text\n    def execute_stream(self, text: str): yield text\n";
    place.write("manifests/both.py", both);
    python(&place, "both", json!({"module": "both", "class": "Both"}));
    for command in [vec!["info", "both"], vec!["info", "both", "--load"]] {
        let info = place.run(&command);
        let told = "    $ bivium run both text=TEXT\n    $ bivium stream both text=TEXT\n";
        assert!(info.assert_status(0).stdout.contains(told), "{}", info.all());
    }
    for command in ["run", "stream"] {
        place.run(&[command, "both", "text=TEXT"]).assert_status(0);
    }
}

#[test]
fn run_and_info_tell_the_right_name_of_a_component_and_of_a_module() {
    let place = place();
    place.component("shout", json!({"component": "shuot.wasm"}));
    place.write("manifests/shout.wasm", "");
    for command in ["run", "info"] {
        let ran = place.run(&[command, "shout"]);
        assert!(ran.stderr.contains("did you mean `shout.wasm`?"), "{}", ran.all());
    }
    python(&place, "file", json!({"module": "words.py"}));
    let ran = place.run(&["run", "file", "text=a"]);
    assert!(ran.assert_status(4).stderr.contains("a module's name has no `.py`: write `words`"), "{}", ran.all());
    let ran = place.run(&["run", "no_such_module:NAME", "text=a"]);
    assert!(ran.assert_status(4).stderr.contains("give the path of its file (FILE.py:NAME)"), "{}", ran.all());
    place.write("manifests/none.json", r#"{"name": "none", "version": "1", "module": "no_such_module", "class": "C"}"#);
    let ran = place.run(&["run", "none"]);
    assert!(ran.assert_status(4).stderr.contains("a package that has it in `requirements`"), "{}", ran.all());
    place.write("manifests/words.json", r#"{"name": "words", "version": "1", "module": "words", "source": "."}"#);
    let ran = place.run(&["run", "manifests/words.json"]);
    assert!(ran.assert_status(4).stderr.contains("for a function write `\"function\": "), "{}", ran.all());
}
