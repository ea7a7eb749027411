//! Wrong command lines and missing files: one clear sentence and the documented status.

use std::time::Instant;

use crate::place::{LONG, Place, Ran, until};

/// Runs a command that might never end.
fn run_for_a_while(place: &Place, args: &[&str]) -> Ran {
    let mut child = place.command(args).spawn().unwrap();
    until(&format!("the end of {args:?}"), || child.try_wait().unwrap().is_some());
    place.ended(child)
}

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
        assert!(
            ran.assert_status(0).stdout.contains("Examples (") && ran.stdout.contains("key@=PATH"),
            "{}",
            ran.all()
        );
    }
}

#[test]
fn an_unknown_plugin_has_status_3() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["run", "redact"]).all(), @r#"
    3
    --- stdout
    --- stderr
    bivium: there is no plugin "redact"; there is no manifest in [DIR]/manifests
    "#);
    place.component("redact", serde_json::json!({}));
    insta::assert_snapshot!(place.run(&["info", "reduct", "--no-load"]).all(), @r#"
    3
    --- stdout
    --- stderr
    bivium: there is no plugin "reduct"; did you mean "redact"? known plugins are redact; searched in [DIR]/manifests
    "#);
    insta::assert_snapshot!(place.run(&["enable", "reduct", "--output", "json"]).all(), @r#"
    3
    --- stdout
    --- stderr
    {"code":"not-found","message":"there is no plugin \"reduct\"","help":"did you mean \"redact\"? known plugins are redact; searched in [DIR]/manifests"}
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
    bivium: the arguments in standard input are not a JSON object: they are another JSON value
    ");
    let ran = place.run_with_input(&["run", "x", "--json", "-", "--output=json"], "{");
    insta::assert_snapshot!(ran.all(), @r#"
    4
    --- stdout
    --- stderr
    {"code":"invalid-input","message":"the arguments in standard input are not a JSON object: EOF while parsing an object at line 1 column 1"}
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

#[test]
fn an_argument_may_be_negative() {
    let place = Place::with_probe();
    let ran = place.run(&["run", "probe", "--arg", "-8", "--arg=-0.5", "--arg", "-1e3", "n:=-3"]);
    let result = ran.assert_status(0).json();
    assert_eq!((&result["args"], &result["kwargs"]["n"]), (&serde_json::json!([-8, -0.5, -1000.0]), &"-3".into()));
    let ran = place.run(&["run", "probe", "--timeout", "-1"]);
    assert!(ran.assert_status(2).stderr.contains("must be more than 0 seconds"), "{}", ran.all());
}

#[test]
fn a_number_that_cannot_be_represented_exactly_is_refused_with_its_place() {
    let place = Place::new();
    let file = place.path("in.json");
    std::fs::write(&file, r#"{"text": "x", "n": [{"id": 18446744073709551616}]}"#).unwrap();
    let told = "n[0].id is 18446744073709551616, an integer outside the range of exact JSON integers";
    let ran = place.run(&["run", "redact", "--json", file.to_str().unwrap()]);
    assert_eq!(ran.status, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains(told) && ran.stderr.contains("give it as a text"), "{}", ran.stderr);
    for (args, told) in [
        (["run", "redact", r#"n:=[{"id": 18446744073709551616}]"#], told),
        (["run", "redact", "--arg=-9223372036854775809"], "the value is -9223372036854775809, an integer"),
        (["run", "redact", r#"n:={"a": 1, "a": 2}"#], "the key n.a occurs twice in JSON"),
    ] {
        let ran = place.run(&args);
        assert_eq!(ran.status, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
}

#[test]
fn a_file_that_never_ends_or_that_nobody_writes_is_refused_with_a_sentence() {
    let place = Place::new();
    place.component("redact", serde_json::json!({}));
    let pipe = place.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let start = Instant::now();
    for option in ["--json", "--policy"] {
        for (file, told) in [
            ("pipe", "it is a pipe that nobody writes to"),
            ("/dev/zero", "it is a device, not a file"),
            ("manifests", "it is a directory"),
        ] {
            let ran = run_for_a_while(&place, &["run", "redact", option, file]);
            assert!(ran.assert_status(4).stderr.contains(told) && ran.stderr.lines().count() == 1, "{}", ran.all());
        }
    }
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let child = place.command(&["run", "redact", "--json", "-"]).stdin(zero).spawn().unwrap();
    assert!(place.ended(child).assert_status(4).stderr.contains("it is not a text (byte 0 is 0)"));
    let ran = run_for_a_while(&place, &["run", "redact", "file@=pipe"]);
    assert!(ran.assert_status(4).stderr.contains("is not a regular file"), "{}", ran.all());
    assert!(start.elapsed() < LONG);
}

#[test]
fn usage_texts_do_not_depend_on_the_environment() {
    let place = Place::new();
    for args in [&["run"] as &[_], &["config", "set"], &["run", "--help"], &["--help"], &["lits"]] {
        let plain = place.run(args).all();
        let mut command = place.command(args);
        for variable in ["CACHE", "POLICY", "AUDIT", "ENVIRONMENTS", "DATA_DIR"] {
            command.env(format!("BIVIUM_{variable}"), "somewhere");
        }
        assert_eq!(place.ran(command.output().unwrap()).all(), plain);
    }
}

#[test]
fn the_nearest_command_is_suggested_and_no_hidden_one() {
    let place = Place::new();
    for (typed, wanted) in [("lits", "list"), ("compilr", "compile"), ("valdate", "validate")] {
        let ran = place.run(&[typed]);
        assert!(ran.assert_status(2).stderr.contains(&format!("'{wanted}'")), "{}", ran.all());
        assert!(!ran.stderr.contains("compiler"), "{}", ran.all());
    }
}

#[test]
fn global_options_are_listed_in_the_programs_help_alone() {
    let place = Place::new();
    assert!(place.run(&["--help"]).assert_status(0).stdout.contains("--data-dir <DIR>"));
    for command in ["run", "list", "config set", "cache list"] {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = place.run(&args);
        assert!(!help.assert_status(0).stdout.contains("--data-dir"), "{}", help.all());
        assert!(help.stdout.contains("Global options") && help.stdout.contains("bivium --help"), "{}", help.all());
    }
}

#[test]
fn a_missing_file_has_the_same_status_in_every_command() {
    let place = Place::new();
    place.component("gone", serde_json::json!({}));
    let python =
        serde_json::json!({"name": "py", "version": "1", "module": "x", "class": "X", "python_path": "none/python"});
    place.write("manifests/py.json", &python.to_string());
    for args in [
        &["run", "nothing"] as &[_],
        &["run", "gone"],
        &["run", "py"],
        &["run", "./none.json"],
        &["run", "./none.wasm"],
        &["run", "gone", "--json", "none.json"],
        &["run", "gone", "file@=none"],
        &["list", "--policy", "none.json"],
        &["list", "--audit", "none/audit"],
        &["compile", "./none.wasm"],
        &["compile", "none.wasm"],
        &["compile", "gone"],
        &["validate", "none.json"],
        &["validate", "none.json", "nor.json"],
        &["pipeline", "run", "none.json"],
        &["import-cjm", "none"],
        &["logs", "nothing"],
        &["stats", "nothing"],
        &["config", "reset", "nothing"],
        &["env", "clean", "0123456789abcdef"],
    ] {
        place.run(args).assert_status(3);
    }
    // There is a worse problem, too.
    place.write("broken.json", "{");
    place.run(&["validate", "none.json", "broken.json"]).assert_status(4);
}

/// Runs the program under a limit that a shell sets.
fn run_limited(place: &Place, limit: &str, args: &[&str]) -> Ran {
    let program = place.command(args);
    let mut command = std::process::Command::new("bash");
    let line = format!("ulimit {limit}; exec \"$@\"");
    command.args(["-c", &line, "bash"]).arg(program.get_program()).args(program.get_args());
    command.current_dir(program.get_current_dir().unwrap());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    place.ran(command.output().unwrap())
}

#[test]
fn a_limit_that_is_too_low_is_named() {
    let place = Place::with_probe();
    for (limit, raise) in [("-n 6", "ulimit -n"), ("-n 12", "ulimit -n"), ("-f 0", "ulimit -f")] {
        let ran = run_limited(&place, limit, &["disable", "probe"]);
        assert!(ran.assert_status(6).stderr.contains(raise), "{limit}: {}", ran.all());
        assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("bivium:")).count(), 1, "{}", ran.all());
    }
    // The program sets its own stack size.
    run_limited(&place, "-s 256", &["run", "probe", "a=1"]).assert_status(0);
    run_limited(&place, "-v 1000000", &["run", "probe", "a=1"]).assert_status(0);
    std::fs::write(place.path("empty.wasm"), wat::parse_str(crate::files::ADD).unwrap()).unwrap();
    let ran = run_limited(&place, "-v 1000000", &["info", "./empty.wasm", "--load"]);
    assert!(ran.assert_status(0).stderr.contains("raise the limit of address space"), "{}", ran.all());
}

#[test]
fn a_limit_of_processes_that_is_too_low_is_reported() {
    use std::os::unix::process::CommandExt as _;
    // The limit does not apply to root.
    let user = if rustix::process::geteuid().is_root() { 23_457 } else { rustix::process::geteuid().as_raw() };
    let program = std::fs::File::open(env!("CARGO_BIN_EXE_bivium")).unwrap();
    let mut command = std::process::Command::new("bash");
    command
        .args(["-c", "ulimit -u 3; exec /proc/self/fd/0 list"])
        .current_dir("/")
        .stdin(program)
        .env("HOME", "/nonexistent");
    if rustix::process::geteuid().is_root() {
        command.uid(user).gid(user);
    }
    let ran = Place::new().ran(command.output().unwrap());
    assert!(ran.assert_status(6).stderr.contains("ulimit -u"), "{}", ran.all());
}

#[test]
fn an_audit_log_that_is_not_a_file_and_json_in_place_of_a_file_are_clear_errors() {
    let place = Place::new();
    for file in ["manifests", "/", &"x".repeat(300)] {
        let ran = place.run(&["list", "--audit", file]);
        assert!(ran.assert_status(4).stderr.contains("name a file"), "{}", ran.all());
    }
    let ran = place.run(&["run", "redact", "--json", r#"{"a": 1, "a": 2}"#]);
    assert!(ran.assert_status(4).stderr.contains("--json takes the name of a file"), "{}", ran.all());
    let ran = place.run_with_input(&["run", "redact", "--json", "-"], r#"{"a": 1, "a": 2}"#);
    assert!(ran.assert_status(4).stderr.contains("standard input: the key a occurs twice"), "{}", ran.all());
}

#[test]
fn quiet_leaves_out_warnings_and_says_errors() {
    let place = Place::new();
    place.write("manifests/broken.json", "{");
    assert!(place.run(&["list"]).stderr.contains("bivium: warning: "));
    assert_eq!(place.run(&["list", "--quiet"]).assert_status(0).stderr, "");
    assert!(place.run(&["run", "nothing", "--quiet"]).assert_status(3).stderr.starts_with("bivium: "));
    assert!(place.run(&["--help"]).stdout.contains("Show errors only"));
}

#[test]
fn minus_zero_is_an_integer_where_it_is_written_as_one() {
    let place = Place::with_probe();
    let ran = place.run_with_input(&["run", "probe", "--arg=-0", "--json", "-", "m:=[-0, -0.0]"], r#"{"n": -0}"#);
    let result = ran.assert_status(0).json();
    assert_eq!(result["args"].to_string(), "[0]");
    assert_eq!((&result["kwargs"]["n"], &result["kwargs"]["m"]), (&"0".into(), &"[0, -0.0]".into()));
}

#[test]
fn what_is_not_json_is_told_with_what_to_write() {
    let place = Place::with_probe();
    for (argument, told) in
        [("--arg=hello", "or give it by its name (name=text)"), ("text:=hello", "for a text write text=…")]
    {
        let ran = place.run(&["run", "probe", argument]);
        assert!(ran.assert_status(2).stderr.contains(told), "{}", ran.all());
    }
    place.write("manifest.json", "{\"name\": \"p\",\n}");
    for command in [
        &["validate", "manifest.json"][..],
        &["list", "--policy", "manifest.json"],
        &["pipeline", "check", "manifest.json"],
    ] {
        let ran = place.run(command);
        let said = format!("{}{}", ran.assert_status(4).stdout, ran.stderr);
        assert!(
            said.contains("line 2: this is not JSON: there is a comma before the `}` at column 1; remove it"),
            "{said}"
        );
    }
}
