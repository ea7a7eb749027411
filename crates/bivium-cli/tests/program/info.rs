//! `info` helps to judge a plugin before it is trusted: none of its code runs without `--load`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::executable::write_executable;
use crate::place::{Place, Ran};

/// The file that a plugin's code would leave behind.
const RAN: &str = "tmp/ran";

/// A typed component whose start function does this.
fn starting(with: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m
                (func $start {with})
                (start $start)
                (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
            (core instance $i (instantiate $m))
            (func (export "add") (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $i "add"))))"#
    );
    wat::parse_str(text).unwrap()
}

impl Place {
    /// A Python plugin and its own interpreter, both of which leave a file behind when they run.
    fn trap(&self) {
        let ran = self.path(RAN);
        fs::create_dir(self.path("source")).unwrap();
        let module = format!(
            "open({ran:?}, 'w')\n\nclass Trap:\n    def initialize(self, config): pass\n    def execute(self, text: str, times=1) -> str:\n        \"\"\"Says it.\"\"\"\n        \
             return text * times\n"
        );
        self.write("source/trap.py", &module);
        let python = format!("#!/bin/sh\ntouch {}\nexec python3 \"$@\"\n", ran.display());
        write_executable(&self.path("python"), &python);
        let manifest = json!({"name": "trap", "version": "1", "module": "trap", "class": "Trap", "source": "../source",
            "python_path": "../python", "config_schema": {"type": "object", "properties": {"n": {"type": "integer",
            "default": 3, "description": "How often"}}}});
        self.write("manifests/trap.json", &manifest.to_string());
    }

    fn takes(&self, args: &[&str]) -> (Ran, Duration) {
        let start = Instant::now();
        (self.run(args), start.elapsed())
    }
}

#[test]
fn no_command_runs_a_python_plugin_or_its_interpreter_without_saying_so() {
    let place = Place::new();
    place.trap();
    let ran = place.path(RAN);
    for args in [
        &["info", "trap"] as &[_],
        &["info", "trap", "--output=json"],
        &["info", "manifests/trap.json"],
        &["info", "trap", "--no-load"],
        &["list"],
        &["validate", "manifests", "manifests/trap.json"],
        &["config", "schema", "trap"],
        &["disable", "trap"],
        &["enable", "trap"],
        &["logs", "trap"],
        &["import-cjm", "manifests"],
        &["doctor"],
        &["help", "info"],
    ] {
        place.run(args).assert_status(0);
        assert!(!ran.exists(), "{args:?}");
    }
    place.run(&["compile", "trap"]).assert_status(4);
    assert!(!ran.exists());
    // The file that it would have left behind.
    place.run(&["info", "trap", "--load"]).assert_status(0);
    assert!(ran.exists());
    fs::remove_file(ran).unwrap();
    place.assert_clean();
}

#[test]
fn doctor_runs_nothing_that_lies_in_the_current_directory() {
    let place = Place::new();
    let left = format!("open({:?}, 'w')\n", place.path(RAN));
    for module in ["venv", "ensurepip", "sitecustomize", "usercustomize", "os", "encodings"] {
        place.write(&format!("{module}.py"), &left);
    }
    place.run(&["doctor"]).assert_status(0);
    assert!(!place.path(RAN).exists());
}

#[test]
fn a_components_start_function_does_not_run() {
    let place = Place::new();
    for (name, with) in [("loops", "(loop $l br $l)"), ("traps", "unreachable")] {
        fs::write(place.path(&format!("manifests/{name}.wasm")), starting(with)).unwrap();
        place.component(name, json!({}));
        let (ran, took) = place.takes(&["info", name]);
        assert!(ran.assert_status(0).stdout.contains("add           func(a: s32, b: s32) -> s32\n"), "{}", ran.all());
        assert!(!ran.stderr.contains("warning") && took < Duration::from_secs(20), "{took:?} {}", ran.all());
        let info = place.run(&["info", name, "--output=json"]).json();
        assert_eq!(info["methods"][0]["parameters"]["required"], json!(["a", "b"]));
        assert_eq!((&info["problem"], &info["exports"]), (&Value::Null, &json!(["add"])));
    }
    let ran = place.run(&["info", "traps", "--load"]);
    assert!(ran.assert_status(0).stderr.contains("bivium: warning: traps: "), "its code runs: {}", ran.all());
}

#[test]
fn a_component_that_never_ends_compiling_is_shown_at_once() {
    let place = Place::new();
    place.endless(json!({"compile_s": 600}));
    let (ran, took) = place.takes(&["info", "endless"]);
    ran.assert_status(0);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn what_a_component_imports_is_held_against_its_permissions() {
    let place = Place::new();
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/target/guests/probe.wasm");
    assert!(guest.is_file(), "{} is not built: run `cargo xtask guests`", guest.display());
    fs::copy(guest, place.path("manifests/asks.wasm")).unwrap();
    place.component("asks", json!({"permissions": {"clocks": true, "random": true, "env": ["LANG"]}}));
    place.write("policy.json", r#"{"permissions": {"clocks": true, "env": ["LANG"]}}"#);
    let info = place.run(&["info", "asks", "--policy", "policy.json", "--output=json"]).assert_status(0).json();
    let import = |name: &str| {
        let imports = info["imports"].as_array().unwrap();
        let found = imports.iter().find(|import| import["name"].as_str().unwrap().starts_with(name));
        let import = found.unwrap_or_else(|| panic!("no {name} in {imports:?}"));
        (import["permission"].as_str().map(str::to_owned), import["asked"].clone(), import["granted"].clone())
    };
    let held = |key: &str, asked: bool, granted: bool| (Some(key.to_owned()), json!(asked), json!(granted));
    assert_eq!(import("wasi:filesystem/types@"), held("permissions.filesystem", false, false));
    assert_eq!(import("wasi:http/outgoing-handler@"), held("permissions.network", false, false));
    assert_eq!(import("wasi:clocks/wall-clock@"), held("permissions.clocks", true, true));
    assert_eq!(import("wasi:random/random@"), held("permissions.random", true, false));
    assert_eq!(import("wasi:cli/environment@"), held("permissions.env", true, true));
    assert_eq!(import("bivium:plugin/types@"), (None, Value::Null, Value::Null));
    let text = place.run(&["info", "asks", "--policy", "policy.json"]);
    for (name, key, how) in [
        ("wasi:http/outgoing-handler@", "permissions.network", "not asked for, so nothing is granted"),
        ("wasi:random/random@", "permissions.random", "asked for, but not granted"),
        ("wasi:clocks/wall-clock@", "permissions.clocks", "granted"),
    ] {
        let is_it = |line: &&str| line.trim().starts_with(name) && line.ends_with(&format!("{key} {how}"));
        assert!(text.stdout.lines().any(|line| is_it(&line)), "{name}: {}", text.all());
    }
    assert!(
        text.stdout.contains("  note          its methods and its configuration are known only when it runs"),
        "{}",
        text.all()
    );
    assert!(text.stdout.contains("Exports:\n  bivium:plugin/guest@"), "{}", text.all());
}

#[test]
fn an_import_that_the_host_does_not_have_is_the_problem() {
    let place = Place::new();
    let text = r#"(component
        (import "evil:host/everything@1.0.0" (instance (export "run" (func))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    fs::write(place.path("manifests/evil.wasm"), wat::parse_str(text).unwrap()).unwrap();
    place.component("evil", json!({}));
    let ran = place.run(&["info", "evil"]);
    assert!(ran.assert_status(0).stdout.contains("Imports:\n  evil:host/everything@1.0.0"), "{}", ran.all());
    assert!(ran.stderr.contains("needs an import that this host does not provide"), "{}", ran.all());
}

#[test]
fn a_class_is_shown_as_its_source_declares_it() {
    let place = Place::new();
    place.trap();
    let ran = place.run(&["info", "trap"]);
    for part in [
        "trap 1\n  runtime       python\n  class         Trap in trap\n  file          [DIR]/manifests/../source/trap.py\n",
        "  python        [DIR]/manifests/../python\n  manifest      [DIR]/manifests/trap.json\n  enabled       yes\n",
        "  permissions   unconfined: it may do everything that you may\n  limits        cache_mb 32768\nMethods:\n  execute       (text: str, times=1) -> str",
        "    $ bivium run trap",
        "Configuration:\n  n             3 How often\n",
    ] {
        assert!(ran.assert_status(0).stdout.contains(part), "{part}: {}", ran.all());
    }
    let hint = "None of its code has run. --load starts it and asks it for its methods and its configuration.\n";
    assert_eq!(ran.stderr, hint);
    let info = place.run(&["info", "trap", "--output=json"]).json();
    let execute = &info["methods"][0];
    assert_eq!((&execute["name"], info["methods"].as_array().unwrap().len()), (&json!("execute"), 1));
    assert!(execute["description"].as_str().unwrap().contains("Says it."), "{execute}");
    assert!(execute["command"].as_str().unwrap().starts_with("bivium run trap"), "{execute}");
    assert_eq!(info["config_schema"]["properties"]["n"]["default"], 3);
    assert_eq!(info["loaded"], false);
}

#[test]
fn the_environment_of_requirements_is_shown_as_far_as_it_is_made() {
    let place = Place::new();
    place.write("manifests/code.py", "class C:\n    def execute(self, n: int):\n        return n\n");
    let manifest = json!({"name": "c", "version": "1", "module": "code", "class": "C", "source": ".",
        "requirements": ["b==2", "a==1"]});
    place.write("manifests/c.json", &manifest.to_string());
    let info = |environment: &str| {
        let ran = place.run(&["info", "c", "--environments", "made"]);
        let line = format!("  requirements  b==2, a==1\n  environment   {environment}\n");
        assert!(ran.assert_status(0).stdout.contains(&line), "{line} {}", ran.all());
    };
    info("not made yet: the first load makes it");
    let made = |key: &str, stamp: Value| {
        fs::create_dir_all(place.path(&format!("made/{key}/bin"))).unwrap();
        place.write(&format!("made/{key}/bivium-environment.json"), &stamp.to_string());
    };
    let stamp = |requirements: Value, wheels_only: bool| json!({"requirements": requirements, "python": "/usr/bin/python3", "wheels_only": wheels_only});
    made("00000000000000aa", stamp(json!(["a==1"]), false));
    made("00000000000000bb", stamp(json!(["a==1", "b==2"]), true));
    info("not made yet: the first load makes it");
    made("00000000000000cc", stamp(json!(["a==1", "b==2"]), false));
    let path = "[DIR]/made/00000000000000cc (1 KiB, made with /usr/bin/python3";
    info(&format!("{path}, damaged: it is made again at the next load)"));
    place.write("made/00000000000000cc/pyvenv.cfg", "");
    std::os::unix::fs::symlink("/bin/sh", place.path("made/00000000000000cc/bin/python")).unwrap();
    info(&format!("{path})"));
    let json = place.run(&["info", "c", "--environments", "made", "--output=json"]).json();
    assert_eq!((&json["environments"][0]["ready"], json["environments"].as_array().unwrap().len()), (&json!(true), 1));
}

#[test]
fn a_function_in_the_environment_that_was_made_is_shown_with_its_signature() {
    let place = Place::new();
    let manifest =
        json!({"name": "shout", "version": "1", "function": "loud.voice:shout", "requirements": ["loud==1"]});
    place.write("manifests/shout.json", &manifest.to_string());
    let info = || place.run(&["info", "shout", "--environments", "made"]).assert_status(0).stdout.clone();
    assert!(info().contains("it may come with the requirements, which are installed at the first load"), "{}", info());
    let made = "made/00000000000000aa";
    let package = format!("{made}/lib/python3.12/site-packages/loud");
    fs::create_dir_all(place.path(&package)).unwrap();
    fs::create_dir_all(place.path(&format!("{made}/bin"))).unwrap();
    std::os::unix::fs::symlink("/bin/sh", place.path(&format!("{made}/bin/python"))).unwrap();
    place.write(&format!("{made}/pyvenv.cfg"), "");
    let stamp = json!({"requirements": ["loud==1"], "python": "/usr/bin/python3", "wheels_only": false});
    place.write(&format!("{made}/bivium-environment.json"), &stamp.to_string());
    let told = format!("the module loud.voice is not in [DIR]/{made}/lib/python3.12/site-packages");
    assert!(info().contains(&told), "{}", info());
    place.write(&format!("{package}/__init__.py"), "");
    place.write(&format!("{package}/voice.py"), "def shout(text: str, times: int = 1) -> str:\n    return text\n");
    assert!(info().contains("  execute       (text: str, times: int = 1) -> str\n"), "{}", info());
    assert!(info().contains("    $ bivium run shout text=TEXT\n"), "{}", info());
}

#[test]
fn a_class_that_cannot_be_made_has_no_command_line_and_says_what_is_missing() {
    let place = Place::new();
    place.write(
        "manifests/code.py",
        "class C:\n    def __init__(self, model): ...\n    def execute(self, n: int):\n        return n\n",
    );
    let manifest = |given: Value| {
        let manifest =
            json!({"name": "c", "version": "1", "module": "code", "class": "C", "source": ".", "init_args": given});
        place.write("manifests/c.json", &manifest.to_string());
    };
    manifest(json!({}));
    let ran = place.run(&["info", "c"]);
    assert!(ran.assert_status(0).stdout.contains("  execute       (n: int)"), "{}", ran.all());
    assert!(!ran.stdout.contains("$ bivium"), "{}", ran.all());
    let told = "its constructor needs `model`, which `init_args` does not give";
    assert!(ran.stderr.contains(told) && ran.stderr.contains("[DIR]/manifests/c.json"), "{}", ran.all());
    let json = place.run(&["info", "c", "--output=json"]).json();
    assert_eq!((&json["problem"]["code"], &json["methods"][0]["command"]), (&json!("invalid-manifest"), &Value::Null));
    place.run(&["run", "c", "n:=1"]).assert_status(4);
    manifest(json!({"model": "small"}));
    let ran = place.run(&["info", "c"]);
    assert_eq!(run_as_printed(&place, &ran, "c").remove(0).assert_status(0).json(), json!(1));
}

#[test]
fn missing_audit_records_are_reported() {
    let place = Place::new();
    place.component("gone", json!({}));
    let ran = place.run(&["info", "gone"]);
    assert!(
        ran.assert_status(0).stderr.contains("cannot read the component [DIR]/manifests/gone.wasm"),
        "{}",
        ran.all()
    );
    assert_eq!(place.run(&["info", "gone", "--output=json"]).json()["problem"]["code"], "not-found");
    place.write("manifests/gone.wasm", "(module)");
    assert!(place.run(&["info", "gone"]).stderr.contains("the file is not WebAssembly"));
    let python = json!({"name": "py", "version": "1", "module": "x.y", "class": "X", "source": "none"});
    place.write("manifests/py.json", &python.to_string());
    let ran = place.run(&["info", "py"]);
    assert!(
        ran.assert_status(0).stdout.contains("  note          the module x.y is not in [DIR]/manifests/none"),
        "{}",
        ran.all()
    );
    let json = place.run(&["info", "py", "--output=json"]).json();
    assert!(json["notes"][0].as_str().unwrap().contains("x.y") && json["methods"].is_null(), "{json}");
    place.run(&["info", "py", "--load", "--no-load"]).assert_status(2);
}

/// The command lines that `info` prints, run by a shell in the place.
pub(crate) fn run_as_printed(place: &Place, info: &Ran, plugin: &str) -> Vec<Ran> {
    let lines: Vec<&str> = info.stdout.lines().filter_map(|line| line.trim().strip_prefix("$ ")).collect();
    assert!(lines.iter().all(|line| line.contains(plugin)) && !lines.is_empty(), "{}", info.all());
    lines.iter().map(|line| run_line(place, line)).collect()
}

/// A command line, run by a shell in the place.
fn run_line(place: &Place, line: &str) -> Ran {
    let program = Path::new(env!("CARGO_BIN_EXE_bivium")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let path = [program.to_owned()].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).unwrap();
    let known = place.command(&[]);
    let mut command = std::process::Command::new("bash");
    command.args(["-c", line]).current_dir(place.path("")).env("PATH", &path);
    for (name, value) in known.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    place.ran(command.output().unwrap())
}

/// A program that ends at once, as a component.
const PROGRAM: &str = r#"(component
    (core module $m (func (export "run") (result i32) (i32.const 0)))
    (core instance $i (instantiate $m))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $n (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $n)))"#;

#[test]
fn every_kind_of_plugin_lists_execute_in_the_same_way() {
    let place = Place::new();
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/target/guests/echo.wasm");
    assert!(guest.is_file(), "{} is not built: run `cargo xtask guests`", guest.display());
    fs::copy(guest, place.path("manifests/world.wasm")).unwrap();
    fs::write(place.path("manifests/typed.wasm"), wat::parse_str(crate::files::ADD).unwrap()).unwrap();
    fs::write(place.path("manifests/program.wasm"), wat::parse_str(PROGRAM).unwrap()).unwrap();
    for name in ["world", "typed", "program"] {
        place.component(name, json!({}));
    }
    let source = "def f(text: str):\n    \"\"\"Says it.\"\"\"\n    return text\n\nclass C:\n    \
                  def execute(self, text: str):\n        \"\"\"Says it.\"\"\"\n        return text\n";
    place.write("code.py", source);
    for (name, object) in
        [("class", json!({"module": "code", "class": "C"})), ("function", json!({"function": "code:f"}))]
    {
        let mut manifest = json!({"name": name, "version": "1", "source": ".."});
        manifest.as_object_mut().unwrap().extend(object.as_object().unwrap().clone());
        place.write(&format!("manifests/{name}.json"), &manifest.to_string());
    }
    // The methods of a component of `bivium:plugin` are known only when it runs.
    for (name, ways) in [
        ("world", &["--load"] as &[_]),
        ("typed", &["--load", "--quiet"]),
        ("program", &["--load", "--quiet"]),
        ("class", &["--load", "--quiet"]),
        ("function", &["--load", "--quiet"]),
    ] {
        for way in ways {
            let json = place.run(&["info", name, way, "--output=json"]).assert_status(0).json();
            let methods = json["methods"].as_array().unwrap();
            assert_eq!(methods.iter().filter(|method| method["name"] == "execute").count(), 1, "{json:#}");
            let execute = &methods[0];
            assert_eq!((&execute["name"], &execute["streams"]), (&json!("execute"), &json!(false)), "{json:#}");
            let description = execute["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty() && execute["parameters"]["properties"].is_object(), "{json:#}");
            let command = execute["command"].as_str().unwrap();
            assert!(command.starts_with(&format!("bivium run {name}")), "{command}");
            let text = place.run(&["info", name, way]);
            let shown = text.assert_status(0).stdout.contains(&format!("    $ {command}\n"));
            assert!(shown && text.stdout.contains("\n  execute       "), "{}", text.all());
            assert!(text.stdout.contains(description), "{}", text.all());
            run_line(&place, command).assert_status(0);
        }
    }
}

#[test]
fn info_prints_what_a_method_takes_and_command_lines_that_work() {
    let place = Place::new();
    fs::write(place.path("manifests/adds.wasm"), wat::parse_str(crate::files::ADD).unwrap()).unwrap();
    place.component("adds", json!({}));
    for named in ["adds", "manifests/adds.json", "./manifests/adds.wasm"] {
        let info = place.run(&["info", named]);
        let methods = format!(
            "Methods:\n  execute       func(a: s32, b: s32) -> s32\n    The same as `add`.\n    a: integer (required)\n    \
             b: integer (required)\n    $ bivium run {named} a:=1 b:=1\n  \
             add           func(a: s32, b: s32) -> s32\n    a: integer (required)\n    b: integer (required)\n    \
             $ bivium run {named} --method add a:=1 b:=1\n"
        );
        assert!(info.assert_status(0).stdout.ends_with(&methods), "{}", info.all());
        for ran in run_as_printed(&place, &info, named) {
            assert_eq!(ran.assert_status(0).json(), json!(2));
        }
    }
    let json = place.run(&["info", "adds", "--output=json"]).json();
    assert_eq!(json["methods"][0]["command"], "bivium run adds a:=1 b:=1");

    let source = "class Words:\n    def execute(self, text: str, times: int = 2):\n        \"\"\"Says it.\"\"\"\n        return text * times\n";
    place.write("manifests/words.py", source);
    place.write(
        "manifests/words.json",
        r#"{"name": "words", "version": "1", "module": "words", "class": "Words", "source": "."}"#,
    );
    for args in [&["info", "words"] as &[_], &["info", "words", "--load"]] {
        let info = place.run(args);
        assert!(info.assert_status(0).stdout.contains("Methods:\n  execute"), "{}", info.all());
        assert!(info.stdout.contains("Says it."), "{}", info.all());
    }
}

#[test]
fn the_command_line_of_a_method_that_takes_a_file_works_as_printed() {
    let place = Place::new();
    let source = "from pathlib import Path\n\nclass Reads:\n    def execute(self, text: Path) -> str:\n        \
                  return open(text).read()\n";
    place.write("manifests/reads.py", source);
    place.write("FILE", "hello");
    place.write(
        "manifests/reads.json",
        r#"{"name": "reads", "version": "1", "module": "reads", "class": "Reads", "source": "."}"#,
    );
    for args in [&["info", "reads"] as &[_], &["info", "reads", "--load"]] {
        let info = place.run(args);
        let taken = "    text: file | string (required)\n    $ bivium run reads text@=FILE\n";
        assert!(info.assert_status(0).stdout.contains(taken), "{}", info.all());
        assert_eq!(run_as_printed(&place, &info, "reads").remove(0).assert_status(0).json(), json!("hello"));
    }
    for example in ["transcribe/transcribe.json", "whisper/whisper.json"] {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plugins").join(example);
        let info = place.run(&["info", manifest.to_str().unwrap()]);
        let line = info.assert_status(0).stdout.lines().find(|line| line.starts_with("    $ bivium stream "));
        assert!(line.is_some_and(|line| line.ends_with(" audio@=FILE")), "{}", info.all());
    }
}

#[test]
fn a_loaded_plugin_is_shown_with_everything_that_its_files_tell() {
    let place = Place::new();
    place.write("manifests/code.py", "class C:\n    def execute(self, n: int):\n        return n\n");
    place.write("manifests/c.json", r#"{"name": "c", "version": "1", "module": "code", "class": "C", "source": "."}"#);
    fs::write(place.path("manifests/adds.wasm"), wat::parse_str(crate::files::ADD).unwrap()).unwrap();
    place.component("adds", json!({}));
    for name in ["c", "adds"] {
        let info = |more: &[&str]| place.run(&[&["info", name], more].concat());
        let keys = |more: &[&str]| {
            let json = info(more).assert_status(0).json();
            json.as_object().unwrap().keys().cloned().collect::<Vec<String>>()
        };
        let (read, asked) = (keys(&["--output=json"]), keys(&["--load", "--output=json"]));
        let lost: Vec<&String> = read.iter().filter(|key| !asked.contains(key)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        let (read, asked) = (info(&[]), info(&["--load"]));
        assert_eq!(asked.assert_status(0).stdout, read.stdout);
    }
    let ran = place.run(&["info", "c", "--load"]);
    assert!(ran.stdout.contains("  file          [DIR]/manifests/code.py\n"), "{}", ran.all());
}
