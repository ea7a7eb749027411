//! `run`, `stream` and `config` with a real worker, and how they end.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::executable::write_executable;
use crate::place::{PROBE, Place, Ran, signal, until};

#[test]
fn arguments_of_every_form_arrive_and_the_result_is_json() {
    let place = Place::with_probe();
    place.write("in.wav", "RIFF");
    let args = ["run", "probe", "text=a=b", "n:=3", "--arg", "[1]", "--arg", "\"x\"", "--config", "mask=*"];
    let result = place.run(&args).assert_status(0).json();
    let expected =
        json!({"args": [[1], "x"], "kwargs": {"text": "a=b", "n": "3"}, "config": {"mask": "*", "times": 1}});
    assert_eq!(result, expected);

    let ran = place.run(&["run", "probe", "--method", "size", "file@=in.wav", "--output=json"]);
    assert_eq!(ran.assert_status(0).stdout, "{\"size\":4,\"name\":\"in.wav\"}\n");
    let object = r#"{"file": {"$blob": {"path": "in.wav"}}}"#;
    let ran = place.run_with_input(&["run", "manifests/probe.json", "--method", "size", "--json", "-"], object);
    assert_eq!(ran.assert_status(0).json()["size"], 4);
    place.assert_clean();
}

#[test]
fn a_python_method_that_fails_is_told_which_form_its_parameters_take_and_a_file_for_a_text_before() {
    let place = Place::new();
    let source = "class Words:\n    def execute(self, text: str, times: int = 1): return text * (times + 0)\n";
    place.write("manifests/words.py", source);
    let words = json!({"name": "words", "version": "1", "module": "words", "class": "Words", "source": "."});
    place.write("manifests/words.json", &words.to_string());
    let ran = place.run(&["run", "words", "text=a", "times=3"]);
    let told = "`times=…` passes a text: write `times:=3` for a number or another JSON value";
    assert!(ran.assert_status(1).stderr.contains(told), "{}", ran.all());
    assert!(!ran.stderr.contains("`text="), "{}", ran.all());
    place.write("in.txt", "a");
    let ran = place.run(&["run", "words", "text@=in.txt"]);
    let told = "words expects a text there: `text@=…` passes a file: write `text=TEXT` to pass a text.\n";
    assert_eq!(ran.assert_status(0).stderr, told);
    assert_eq!(place.run(&["run", "words", "text@=in.txt", "-q"]).assert_status(0).stderr, "");
    place.assert_clean();
}

/// A link to the program that `python3` is.
fn python(place: &Place) -> PathBuf {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let link = place.path("python");
    std::os::unix::fs::symlink(String::from_utf8(asked.stdout).unwrap().trim(), &link).unwrap();
    link
}

#[test]
fn a_run_starts_python_for_the_worker_and_once_to_ask_its_version() {
    let place = Place::with_probe();
    let python = python(&place);
    let notes = place.path("notes");
    let script =
        format!("#!/bin/sh\necho \"$*\" | head -n 1 >>'{}'\nexec '{}' \"$@\"\n", notes.display(), python.display());
    let wrapper = place.path("wrapper");
    write_executable(&wrapper, &script);
    place.write(
        "manifests/probe.json",
        &json!({"name": "probe", "version": "1.0.0", "module": "probe_plugin",
        "class": "Probe", "source": "..", "python_path": wrapper})
        .to_string(),
    );
    place.run(&["run", "probe", "text=x"]).assert_status(0);
    let notes = std::fs::read_to_string(notes).unwrap();
    let starts: Vec<&str> = notes.lines().collect();
    assert!(matches!(*starts, [asked, _] if asked.starts_with("-I -S -c")), "{notes}");
}

#[test]
fn what_an_interpreter_said_is_kept_for_the_next_run() {
    let place = Place::with_probe();
    place.write(
        "manifests/probe.json",
        &json!({"name": "probe", "version": "1.0.0", "module": "probe_plugin",
        "class": "Probe", "source": "..", "python_path": python(&place)})
        .to_string(),
    );
    let run = || {
        let mut command = place.command(&["run", "probe", "text=x"]);
        place.ran(command.env("BIVIUM_CACHE", place.path("cache")).output().unwrap())
    };
    run().assert_status(0);
    let kept: Vec<_> = std::fs::read_dir(place.path("cache/interpreters")).unwrap().collect();
    let [Ok(kept)] = &*kept else { panic!("{kept:?}") };
    run().assert_status(0);
    // A second run does not ask the interpreter: it uses the stored answer.
    std::fs::write(kept.path(), r#"{"version": "3.8.1", "tag": "cpython-38", "prctl": true}"#).unwrap();
    let ran = run();
    assert!(
        ran.status != 0 && ran.stderr.contains("is Python 3.8.1, and the plugin needs 3.9 or newer"),
        "{}",
        ran.all()
    );
    std::fs::remove_file(kept.path()).unwrap();
    run().assert_status(0);
    place.assert_clean();
}

#[test]
fn files_of_the_result_are_kept_where_asked() {
    let place = Place::with_probe();
    let ran = place.run(&["run", "probe", "--method", "make", "text=hello"]);
    insta::assert_snapshot!(ran.all(), @r#"
    0
    --- stdout
    {
      "made": {
        "$blob": {
          "media_type": "text/plain",
          "size": 5
        }
      }
    }
    --- stderr
    The files of the result were not kept; --out DIR keeps them.
    "#);
    let ran = place.run(&["run", "probe", "--method", "make", "text=hello", "--out", "out"]);
    insta::assert_snapshot!(ran.all(), @r#"
    0
    --- stdout
    {
      "made": {
        "$blob": {
          "media_type": "text/plain",
          "size": 5,
          "path": "out/made.txt"
        }
      }
    }
    --- stderr
    "#);
    assert_eq!(std::fs::read_to_string(place.path("out/made.txt")).unwrap(), "hello");
    place.run(&["run", "probe", "--method", "make", "text=again", "--out", "out"]).assert_status(4);
    place.run(&["run", "probe", "--method", "make", "text=again", "--out", "out", "--force"]).assert_status(0);
    assert_eq!(std::fs::read_to_string(place.path("out/made.txt")).unwrap(), "again");

    // One run reads what another run has printed.
    let made =
        place.run(&["run", "probe", "--method=make", "text=four", "--out=new", "--output=json"]).json()["made"].clone();
    let file = json!({"file": made}).to_string().replace("[DIR]", place.path("").to_str().unwrap());
    let ran = place.run_with_input(&["run", "probe", "--method", "size", "--json", "-"], &file);
    assert_eq!(ran.assert_status(0).json()["size"], 4);
    place.assert_clean();
}

#[test]
fn a_stream_is_one_line_for_each_result_as_it_comes() {
    let place = Place::with_probe();
    let ran = place.run(&["stream", "probe", "count:=2"]);
    insta::assert_snapshot!(ran.all(), @r#"
    0
    --- stdout
    {"n":0,"text":"chunk 0"}
    {"n":1,"text":"chunk 1"}
    --- stderr
    "#);

    let flag = place.path("flag");
    let hold = format!("hold={}", flag.display());
    let mut child = place.command(&["stream", "probe", "count:=1", &hold]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"n":0,"text":"chunk 0"}"#);
    let worker = pid_in(&place);
    signal(&child, "INT");
    let ran = place.ended(child);
    assert!(ran.assert_status(130).stderr.contains("cancelled"), "{}", ran.all());
    gone(&worker);
    place.assert_clean();
}

#[test]
fn a_plugins_own_error_has_status_1_and_its_traceback() {
    let place = Place::with_probe();
    let ran = place.run(&["run", "probe", "--method", "fail"]);
    ran.assert_status(1);
    assert!(ran.stderr.starts_with("bivium: probe: ValueError: no good\\u{1b}[2J"), "{}", ran.all());
    assert!(ran.stderr.contains("Traceback") && ran.stderr.contains("in fail"), "{}", ran.all());
    assert_eq!(ran.stderr.matches("ValueError: no good").count(), 1, "{}", ran.all());
    assert!(ran.stdout.is_empty());
    let ran = place.run(&["run", "probe", "--method", "fail", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(ran.assert_status(1).stderr.trim()).unwrap();
    assert_eq!((&error["code"], &error["failure"]["type"]), (&"plugin-failed".into(), &"ValueError".into()));
    place.run(&["run", "probe", "--method", "none"]).assert_status(3);
    place.assert_clean();
}

#[test]
fn output_and_warnings_of_a_plugin_are_marked_and_shown_once() {
    let place = Place::new();
    let source = "import logging, os, sys\nclass Dies:\n    def execute(self):\n        logging.warning('beware')\n        \
                  print('last\\nwords', file=sys.stderr, flush=True)\n        os._exit(3)\n";
    place.write("manifests/dies.py", source);
    let dies = json!({"name": "dies", "version": "1", "module": "dies", "class": "Dies", "source": "."});
    place.write("manifests/dies.json", &dies.to_string());
    let ran = place.run(&["run", "dies"]);
    let mut lines: Vec<&str> = ran.assert_status(7).stderr.lines().collect();
    lines.sort_unstable();
    let told = "bivium: dies: the worker exited with status 3 in the middle of a call; its stderr says: words";
    assert_eq!(lines, [told, "dies | last", "dies | warn: root: beware", "dies | words"], "{}", ran.all());
    // If they were not shown, the error has them.
    let quiet = place.run(&["run", "dies", "--quiet"]);
    assert_eq!(quiet.assert_status(7).stderr, format!("{told}\nlast\nwords\n"));
    place.assert_clean();
}

#[test]
fn a_call_that_takes_too_long_has_status_124() {
    let place = Place::with_probe();
    let flag = format!("flag={}", place.path("flag").display());
    let ran = place.run(&["run", "probe", "--method", "wait", &flag, "--timeout", "5"]);
    assert!(ran.assert_status(124).stderr.starts_with("bivium: probe: "), "{}", ran.all());
    gone(&pid_in(&place));
    place.assert_clean();
}

#[test]
fn the_first_signal_ends_the_call_cleanly() {
    for name in ["INT", "TERM"] {
        let place = Place::with_probe();
        let flag = format!("flag={}", place.path("flag").display());
        let child = place.command(&["run", "probe", "--method", "wait", &flag]).spawn().unwrap();
        let worker = pid_in(&place);
        signal(&child, name);
        let ran = place.ended(child);
        assert!(ran.assert_status(130).stderr.contains("stopping"), "{}", ran.all());
        gone(&worker);
        place.assert_clean();
    }
}

#[test]
fn the_second_signal_ends_the_program_at_once_and_the_next_one_tidies_up() {
    let place = Place::with_probe();
    let flag = format!("flag={}", place.path("flag").display());
    let mut child = place.command(&["run", "probe", "--method", "stubborn", &flag]).spawn().unwrap();
    let worker = pid_in(&place);
    signal(&child, "INT");
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "bivium: stopping; interrupt again to stop at once");
    signal(&child, "INT");
    place.ended(child).assert_status(130);
    gone(&worker);
    place.run(&["list"]).assert_status(0);
    place.assert_clean();
}

#[test]
fn a_signal_ends_the_loading_of_a_plugin_too() {
    let place = Place::with_probe();
    let flag = place.path("flag");
    place.write("probe_plugin.py", &format!("{PROBE}\nProbe().wait({:?})\n", flag.to_str().unwrap()));
    let child = place.command(&["info", "probe", "--load"]).spawn().unwrap();
    let worker = pid_in(&place);
    signal(&child, "TERM");
    place.ended(child).assert_status(130);
    gone(&worker);
    std::fs::remove_file(flag).unwrap();
    let child = place.command(&["run", "probe"]).spawn().unwrap();
    let worker = pid_in(&place);
    signal(&child, "TERM");
    place.ended(child).assert_status(130);
    gone(&worker);
    place.assert_clean();
}

#[test]
fn a_reader_that_goes_away_ends_the_stream() {
    let place = Place::with_probe();
    let mut child = place.command(&["stream", "probe", "count:=1000000000"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    drop(lines);
    assert_eq!(place.ended(child).assert_status(0).stderr, "");
    place.assert_clean();
}

#[test]
fn a_configuration_is_checked_saved_and_used() {
    let place = Place::with_probe();
    assert_eq!(place.run(&["config", "get", "probe"]).assert_status(0).json(), json!({"mask": "#", "times": 1}));
    let ran = place.run(&["config", "set", "probe", "mask=*", "times:=2"]);
    assert_eq!(ran.assert_status(0).json(), json!({"mask": "*", "times": 2}));
    assert_eq!(place.run(&["run", "probe"]).json()["config"], json!({"mask": "*", "times": 2}));
    // For one run only, as a change of the saved configuration.
    let ran = place.run(&["run", "probe", "--config", "times:=3"]);
    assert_eq!(ran.json()["config"], json!({"mask": "*", "times": 3}));
    let ran = place.run(&["config", "set", "probe", "mask:=7", "more=x"]);
    insta::assert_snapshot!(ran.all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: probe: the configuration does not fit the plugin's schema
      /mask: 7 is not of type "string"
      there is no setting "more"; there are mask, times
    "#);
    assert_eq!(place.run(&["config", "set", "probe", "times:=null"]).json(), json!({"mask": "*", "times": 1}));
    assert_eq!(place.run(&["config", "schema", "probe"]).json()["required"], json!(["mask"]));
    let info = place.run(&["info", "probe", "--load"]);
    for line in [
        "Methods:\n  execute",
        "\n    $ bivium run probe --method say",
        "Says it in every way that there is.",
        "Configuration:\n  mask          \"*\" What replaces\n  times         1\n",
    ] {
        assert!(info.assert_status(0).stdout.contains(line), "{line}: {}", info.all());
    }
    place.assert_clean();
}

#[test]
fn the_program_works_when_started_with_sigchld_ignored() {
    let place = Place::with_probe();
    let small = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    std::fs::write(place.path("manifests/small.wasm"), wat::parse_str(small).unwrap()).unwrap();
    place.component("small", json!({}));
    place.write("dies.py", "import os\nclass Dies:\n    def execute(self): os._exit(7)\n");
    place.write(
        "manifests/dies.json",
        &json!({"name": "dies", "version": "1", "module": "dies", "class": "Dies", "source": ".."}).to_string(),
    );
    let script =
        "import os, signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])";
    let run = |args: &[&str]| {
        let own = place.command(args);
        let mut command = std::process::Command::new("python3");
        command.args(["-c", script, env!("CARGO_BIN_EXE_bivium")]).args(args).current_dir(place.path(""));
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        place.ran(command.output().unwrap())
    };
    run(&["run", "probe"]).assert_status(0);
    let (doctor, as_others) = (run(&["doctor"]), place.run(&["doctor"]));
    let python =
        |ran: &Ran| ran.stdout.lines().filter(|line| line.contains("python")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(python(&doctor), python(&as_others), "{}", doctor.all());
    run(&["compile", "small"]).assert_status(0);
    let died = run(&["run", "dies"]);
    assert!(died.stderr.contains("exited with status 7"), "{}", died.all());
    place.assert_clean();
}

#[test]
fn a_disabled_plugin_is_unavailable() {
    let place = Place::with_probe();
    place.run(&["disable", "probe"]).assert_status(0);
    place.run(&["run", "probe"]).assert_status(7);
    place.run(&["enable", "probe"]).assert_status(0);
    place.run(&["run", "probe"]).assert_status(0);
}

#[test]
fn a_pipeline_prints_its_results_and_the_time_of_each_step() {
    let place = Place::with_probe();
    let pipeline = json!({"name": "p", "inputs": {"count": {"default": 2}}, "steps": [
        {"id": "chunks", "plugin": "probe", "stream": true, "args": {"count": {"$from": "inputs/count"}}},
        {"id": "all", "plugin": "probe", "method": "make", "args": {"text": {"$from": "chunks/1/text"}}}],
        "outputs": {"file": {"$from": "all/made"}}});
    place.write("p.json", &pipeline.to_string());
    let ran = place.run(&["pipeline", "run", "p.json", "--out", "out"]);
    assert!(ran.assert_status(0).stderr.starts_with("chunks: chunk 0\nchunks: chunk 1\n"), "{}", ran.all());
    assert!(ran.stderr.contains("STEP    PLUGIN  RUNTIME  CALLS  RESULTS"), "{}", ran.all());
    assert_eq!(ran.json()["file"]["$blob"]["path"], "out/file.txt");
    assert_eq!(std::fs::read_to_string(place.path("out/file.txt")).unwrap(), "chunk 1");

    let ran = place.run(&["pipeline", "run", "p.json", "count:=3", "--output", "json"]);
    let json = ran.assert_status(0).json();
    assert_eq!((&json["steps"][0]["results"], &json["steps"][0]["runtime"]), (&3.into(), &"python".into()));
    assert!(json["wall_s"].is_f64() && json["load_s"].is_f64() && ran.stderr.is_empty(), "{}", ran.all());
    place.run(&["pipeline", "run", "p.json", "other=1"]).assert_status(4);
    place.assert_clean();
}

/// The process id that the plugin wrote to its flag file.
fn pid_in(place: &Place) -> String {
    let flag = place.path("flag");
    until("the plugin's call", || flag.exists());
    std::fs::read_to_string(flag).unwrap()
}

fn gone(pid: &str) {
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    until("the worker's end", || !process.exists());
}

#[test]
fn nothing_is_left_in_the_users_home_if_other_directories_are_given() {
    let place = Place::with_probe();
    let (home, own) = (place.path("home"), place.path("own"));
    std::fs::create_dir_all(&home).unwrap();
    let one: &[(&str, std::path::PathBuf)] = &[("BIVIUM_HOME", own.clone())];
    let each: &[(&str, std::path::PathBuf)] = &[
        ("BIVIUM_DATA_DIR", own.join("data")),
        ("BIVIUM_CACHE", own.join("cache")),
        ("BIVIUM_ENVIRONMENTS", own.join("environments")),
    ];
    for places in [one, each] {
        let mut command = place.command(&["run", "probe", "text=a"]);
        command.env("HOME", &home).env_remove("BIVIUM_DATA_DIR").envs(places.iter().map(|(name, at)| (name, at)));
        place.ran(command.output().unwrap()).assert_status(0);
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "{places:?}");
        assert!(own.join("cache").read_dir().unwrap().count() > 0 && own.join("data").is_dir());
        std::fs::remove_dir_all(&own).unwrap();
    }
    // Manifests in its `manifests` are found, after those in the default search paths.
    std::fs::create_dir_all(own.join("manifests")).unwrap();
    std::fs::copy(place.path("manifests/probe.json"), own.join("manifests/probe.json")).unwrap();
    let mut command = place.command(&["info", "probe", "--output=json"]);
    command.env("HOME", &home).env("BIVIUM_HOME", &own).env_remove("BIVIUM_MANIFESTS");
    let told = place.ran(command.output().unwrap());
    assert!(told.assert_status(0).stdout.contains("own/manifests/probe.json"), "{}", told.stdout);
}

#[test]
fn a_pipeline_that_would_not_run_is_told_before_it_runs() {
    let place = Place::with_probe();
    let pipeline = |plugin: &str, method: &str, file: &str| {
        let step = json!({"id": "one", "plugin": plugin, "method": method, "args": {"word": "hello"}});
        json!({"name": "p", "inputs": {"sound": {"file": file}}, "steps": [step]}).to_string()
    };
    place.write("good.json", &pipeline("probe", "say", "good.json"));
    place.write("bad.json", &pipeline("probe", "shout", "none.wav"));
    place.write("none.json", &pipeline("nobody", "say", "good.json"));
    let good = place.run(&["pipeline", "check", "good.json"]);
    assert_eq!(good.assert_status(0).stdout, "good.json: ok, pipeline p\n");
    let bad = place.run(&["pipeline", "check", "bad.json"]);
    assert!(
        bad.assert_status(4).stderr.contains("steps.0.method: probe has no method \"shout\"; it has"),
        "{}",
        bad.all()
    );
    assert!(
        bad.stderr.contains("inputs.sound.file: there is no file") && bad.stderr.contains("none.wav"),
        "{}",
        bad.all()
    );
    let none = place.run(&["pipeline", "check", "none.json"]);
    assert!(none.assert_status(4).stderr.contains("there is no plugin \"nobody\""), "{}", none.all());
    place.write("slip.json", "{\"name\": \"p\",\n\"stepz\": []}");
    let slip = place.run(&["pipeline", "check", "slip.json"]);
    assert!(
        slip.assert_status(4).stderr.contains("line 2: unknown key \"stepz\"; did you mean `steps`?"),
        "{}",
        slip.all()
    );
    assert_eq!(place.run(&["pipeline", "schema", "--output", "json"]).json()["title"], "Bivium pipeline");
    // A failure says where, with the steps so far.
    let failing = json!({"name": "p", "steps": [{"id": "one", "plugin": "probe", "method": "fail"}]}).to_string();
    place.write("failing.json", &failing);
    let ran = place.run(&["pipeline", "run", "failing.json"]);
    assert!(ran.assert_status(1).stderr.contains("step \"one\": ValueError"), "{}", ran.all());
    assert!(ran.stderr.contains("STEP") && ran.stderr.contains("of loading"), "{}", ran.all());
    let error = place.run(&["pipeline", "run", "failing.json", "--output", "json"]).stderr;
    assert!(error.contains(r#""step":{"id":"one"}"#), "{error}");
    place.assert_clean();
}
