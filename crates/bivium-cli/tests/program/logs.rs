//! `bivium logs`: the records of plugins, in this run and in earlier ones.

use std::io::{BufRead as _, BufReader};

use serde_json::Value;

use crate::place::{Place, signal};

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs the place's plugin once, so that it has printed something.
fn having_said(place: &Place, word: &str) {
    place.run(&["run", "probe", "--method", "say", word]).assert_status(0);
}

#[test]
fn a_later_run_shows_a_plugins_records_with_worker_and_call() {
    let place = Place::with_probe();
    having_said(&place, "word=ship");
    let said = records(&place.run(&["logs", "probe", "--output", "json"]).assert_status(0).stdout);
    let find = |part: &str| said.iter().find(|record| record["message"].as_str().unwrap().contains(part)).unwrap();
    for (part, level, source) in
        [("printed ship", "info", "stdout"), ("complained ship", "warn", "stderr"), ("logged ship", "error", "log")]
    {
        let record = find(part);
        assert_eq!((&record["level"], &record["source"]), (&level.into(), &source.into()));
        assert_eq!(record["plugin"], "probe");
        assert!(record["instance"].as_u64().unwrap() > 1 && record["time_ms"].as_u64().unwrap() > 1_700_000_000_000);
    }

    having_said(&place, "word=sea");
    let call = find("logged ship")["call"].as_str().unwrap().to_owned();
    let of_call = place.run(&["logs", "probe", "--call", &call, "--level", "warn"]).assert_status(0).stdout.clone();
    assert!(of_call.contains("logged ship") && !of_call.contains("printed") && !of_call.contains("sea"), "{of_call}");
    let last = place.run(&["logs", "manifests/probe.json", "-n", "1", "--level", "error", "--output", "json"]).json();
    assert!(last["message"].as_str().unwrap().contains("logged sea"));
    place.run(&["logs", "probe", "--call", "1"]).assert_status(2);
    place.assert_clean();
}

#[test]
fn output_of_a_plugin_is_shown_unless_quiet() {
    let place = Place::with_probe();
    let say = ["run", "probe", "--method", "say", "word=ship"];
    let ran = place.run(&say);
    assert!(ran.assert_status(0).stderr.lines().any(|line| line == "probe | printed ship"), "{}", ran.all());
    assert!(ran.stderr.contains(r"probe | \u{1b}[2Jhidden") && !ran.stdout.contains("printed"), "{}", ran.all());
    for options in [["--quiet", "--no-progress"], ["--output", "json"]] {
        let ran = place.run(&[&say[..], &options[..]].concat());
        assert!(!ran.assert_status(0).stderr.contains("printed ship"), "{}", ran.all());
    }
    place.assert_clean();
}

#[test]
fn a_plugins_debug_records_can_be_asked_for() {
    let place = Place::with_probe();
    let whisper = ["run", "probe", "--method", "whisper", "word=ship"];
    let whispers = |args: &[&str]| place.run(&[&["logs", "probe"], args].concat()).stdout.matches("whispered").count();
    assert!(!place.run(&whisper).assert_status(0).stderr.contains("whispered"));
    assert_eq!(whispers(&["--level", "trace"]), 0);

    let ran = place.run(&[&whisper[..], &["--log-level", "debug"]].concat());
    assert!(ran.assert_status(0).stderr.contains("probe | debug: probe.words: whispered ship"), "{}", ran.all());
    assert_eq!((whispers(&[]), whispers(&["--level", "debug"])), (0, 1));

    let by_environment = |level: &str| place.command(&whisper).env("BIVIUM_PLUGIN_LOG", level).output().unwrap();
    assert!(String::from_utf8_lossy(&by_environment("debug").stderr).contains("whispered ship"));
    let wrong = by_environment("loud");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.success() && said.contains("BIVIUM_PLUGIN_LOG is not a level"), "{said}");
    place.assert_clean();
}

#[test]
fn a_plugins_text_neither_moves_the_cursor_nor_passes_for_another_record() {
    let place = Place::with_probe();
    having_said(&place, "word=x");
    let shown = place.run(&["logs", "probe"]).assert_status(0).stdout.clone();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    assert!(shown.contains(r"\u{1b}[2Jhidden \u{9b}31m"), "{shown}");
    assert!(
        shown.lines().any(|line| line.starts_with("    2026-01-01T00:00:00.000Z error host   1: forged")),
        "{shown}"
    );
    let json = place.run(&["logs", "probe", "--output", "json"]).stdout;
    assert!(!json.chars().any(|c| c.is_control() && c != '\n'), "{json:?}");
    // Nor do log records that are shown while the plugin runs.
    let ran = place.run(&["run", "probe", "-v", "--method", "say", "word=y"]);
    assert!(ran.stderr.contains("printed y") && !ran.stderr.chars().any(|c| c.is_control() && c != '\n'), "{ran:?}");
}

#[test]
fn following_shows_what_other_runs_write_until_interrupted() {
    let place = Place::with_probe();
    let mut follower = place.command(&["logs", "probe", "--follow", "--output", "json"]).spawn().unwrap();
    let mut errors = place.command(&["logs", "probe", "--follow", "--level", "error"]).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = |part: &str| loop {
        let line = lines.next().unwrap().unwrap();
        if line.contains(part) {
            break;
        }
    };
    for word in ["one", "two"] {
        having_said(&place, &format!("word={word}"));
        next(&format!("printed {word}"));
    }
    signal(&follower, "INT");
    assert_eq!(place.ended(follower).assert_status(130).stderr, "");
    // A level holds for what is followed as well.
    for line in BufReader::new(errors.stdout.take().unwrap()).lines().map(Result::unwrap) {
        assert!(!line.contains("printed"), "{line}");
        if line.contains("logged two") {
            break;
        }
    }
    signal(&errors, "INT");
    place.ended(errors).assert_status(130);
}

#[test]
fn too_many_records_are_dropped_and_their_number_is_reported() {
    let place = Place::with_probe();
    place.run(&["run", "probe", "--method", "flood", "count:=50000"]).assert_status(0);
    let said = records(&place.run(&["logs", "probe", "-n", "1000000", "--output", "json"]).assert_status(0).stdout);
    let messages = || said.iter().map(|record| record["message"].as_str().unwrap());
    let told = messages().filter(|message| message.contains(" log records were dropped"));
    let missing: usize = told.map(|message| message.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    let shown = messages().filter(|message| message.starts_with("flood ")).count();
    assert!(missing > 0, "{shown}");
    assert_eq!(shown + missing, 50_000);
}

#[test]
fn an_unknown_name_has_status_3_and_a_plugin_without_a_log_says_so() {
    let place = Place::with_probe();
    insta::assert_snapshot!(place.run(&["logs", "nothing"]).all(), @r#"
    3
    --- stdout
    --- stderr
    bivium: there is no plugin "nothing", and no log of such a plugin; `bivium list` shows all plugins
    "#);
    insta::assert_snapshot!(place.run(&["logs", "probe"]).all(), @r"
    0
    --- stdout
    --- stderr
    probe has no log yet: none is stored in [DIR]/data/logs.
    ");
    let ran = place.run(&["logs", "prob"]);
    assert!(ran.assert_status(3).stderr.contains("did you mean \"probe\"?"), "{}", ran.all());
    place.run(&["logs", "../settings/probe"]).assert_status(3);
}

#[test]
fn a_log_without_a_record_to_show_says_why() {
    let place = Place::with_probe();
    let told = |args: &[&str]| place.run(&[&["logs", "probe"], args].concat()).assert_status(0).stderr.clone();
    place.run(&["run", "probe", "text=x"]).assert_status(0);
    let silent = "probe has run and printed nothing; `bivium logs probe --level debug` shows the host's records.\n";
    assert_eq!(told(&[]), silent);
    assert_eq!((told(&["--level", "debug"]), told(&["-n", "0"])), (String::new(), String::new()));
    assert_eq!(told(&["--call", "00000000000000ff"]), "The log of probe has no record of the call 00000000000000ff.\n");
    let whisper = ["run", "probe", "--method", "whisper", "word=ship", "--log-level", "debug"];
    place.run(&whisper).assert_status(0);
    assert_eq!(told(&[]), "The log of probe has records, and none of level info or above; `--level` selects others.\n");
    for file in std::fs::read_dir(place.path("data/logs")).unwrap() {
        std::fs::write(file.unwrap().path(), "").unwrap();
    }
    assert_eq!(told(&[]), "The log of probe is empty.\n");
    place.assert_clean();
}

#[test]
fn a_run_that_fails_is_in_the_log_once_with_its_code_and_call() {
    let place = Place::with_probe();
    let shown = |args: &[&str]| {
        let ran = place.run(&[&["logs", "probe", "--output", "json"], args].concat());
        let errors = records(&ran.assert_status(0).stdout).into_iter().filter(|record| record["level"] == "error");
        errors.collect::<Vec<_>>()
    };
    let ran = place.run(&["run", "probe", "--method", "fail"]);
    assert_eq!(ran.assert_status(1).stderr.matches("ValueError: no good").count(), 1, "{}", ran.all());
    let [failed] = &shown(&[])[..] else { panic!("{:?}", shown(&[])) };
    assert_eq!(failed["message"], "the call failed (plugin-failed): ValueError: no good\u{1b}[2J");
    assert_eq!((&failed["source"], failed["call"].as_str().map(str::len)), (&"host".into(), Some(16)));
    let call = failed["call"].as_str().unwrap();
    assert_eq!(shown(&["--call", call]).len(), 1);

    let streamed = place.run(&["stream", "probe", "count=many"]);
    streamed.assert_status(1);
    assert!(shown(&[])[1]["message"].as_str().unwrap().starts_with("the call failed (plugin-failed): TypeError: "));
    let load = place.run(&["run", "probe", "--config", "mask:=7"]);
    assert!(load.assert_status(4).stderr.contains("mask"), "{}", load.all());
    let told = "the plugin was not loaded (invalid-config): ";
    assert!(shown(&[])[2]["message"].as_str().unwrap().starts_with(told), "{:?}", shown(&[]));
    assert_eq!(shown(&[]).len(), 3);
    // The deadline passes while the plugin is loaded.
    place.run(&["run", "probe", "text=x", "--timeout", "0.01"]).assert_status(124);
    let warned = place.run(&["logs", "probe", "--level", "warn", "-n", "1"]);
    assert!(warned.assert_status(0).stdout.contains("its load was given up"), "{}", warned.all());
    place.assert_clean();
}

#[test]
fn a_data_directory_that_cannot_be_written_stops_no_call() {
    let place = Place::with_probe();
    place.write("data/logs", "no directory");
    let ran = place.run(&["run", "probe", "--method", "say", "word=x"]);
    assert!(ran.assert_status(0).stderr.contains("the plugin's log cannot be written in"), "{}", ran.all());
}
