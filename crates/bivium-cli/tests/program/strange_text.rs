//! Untrusted text, wherever the program shows it: no character changes the direction of writing, hides text or sends commands to the
//! terminal.

use serde_json::{Value, json};

use crate::place::{Place, Ran};

const NASTY: &str = "cod\u{202e}gnp.exe\u{200b}\u{1b}[2J\u{9b}31m\u{2066}\u{feff}\u{e0041}\r";

/// Writes it in every way that a plugin has.
const SOURCE: &str = "
import logging, sys
NASTY = 'cod\\u202egnp.exe\\u200b\\x1b[2J\\x9b31m\\u2066\\ufeff\\U000e0041\\r'
class Strange:
    def execute(self, fail=False):
        print(NASTY + 'printed', flush=True)
        logging.getLogger(NASTY).warning('%s logged\\nbivium: forged', NASTY)
        if fail:
            raise type('Odd', (ValueError,), {})(NASTY + 'raised')
        return {NASTY: [NASTY]}
";

fn strange() -> Place {
    let place = Place::new();
    place.write("strange_plugin.py", SOURCE);
    let manifest = json!({"name": "strange", "version": "1.0.0", "module": "strange_plugin", "class": "Strange",
        "source": "..", "permissions": null});
    place.write("manifests/strange.json", &manifest.to_string());
    place
}

#[track_caller]
fn assert_harmless(ran: &Ran) {
    for c in NASTY.chars().filter(|c| !c.is_ascii_graphic()) {
        assert!(!ran.stdout.contains(c) && !ran.stderr.contains(c), "{:x}: {}", u32::from(c), ran.all());
    }
}

#[test]
fn a_plugins_results_errors_and_records_are_shown_harmless() {
    let place = strange();
    for format in ["text", "json"] {
        let output = format!("--output={format}");
        let ran = place.run(&["run", "strange", &output, "-v"]);
        assert_harmless(ran.assert_status(0));
        // The same value, but escaped.
        assert_eq!(ran.json(), json!({NASTY: [NASTY]}));
        assert!(ran.stdout.contains(r"cod\u202egnp.exe\u200b"), "{}", ran.all());
        let ran = place.run(&["run", "strange", "fail:=true", &output]);
        assert_harmless(&ran);
        assert_ne!(ran.status, 0);
        assert!(ran.stderr.contains("raised"), "{}", ran.all());
        let ran = place.run(&["logs", "strange", &output]);
        assert_harmless(ran.assert_status(0));
        assert!(ran.stdout.contains("printed") && ran.stdout.contains("logged"), "{}", ran.all());
        assert!(!ran.stdout.lines().any(|line| line.starts_with("bivium: forged")), "{}", ran.all());
    }
    let ran = place.command(&["run", "strange"]).env("BIVIUM_LOG", "trace").output().unwrap();
    let ran = place.ran(ran);
    assert_harmless(ran.assert_status(0));
    assert!(ran.stderr.contains("logged"), "{}", ran.all());
    assert!(!ran.stderr.lines().any(|line| line.starts_with("bivium: forged")), "{}", ran.all());
}

#[test]
fn a_manifests_text_is_refused_or_shown_harmless() {
    let place = Place::new();
    place.component("ok", json!({"component": "cod\u{202e}mssaw.wasm"}));
    for (key, value) in [
        ("name", Value::from("ab\u{202e}cd")),
        ("version", Value::from("1.0\u{200b}")),
        ("description", Value::from("safe\u{202e}elif")),
        ("category", Value::from("x\u{2066}y")),
        ("description", Value::from("\u{1b}]0;title\u{7}")),
    ] {
        place.component("bad", json!({key: value}));
        for command in [["list", "--output=text"], ["validate", "manifests/bad.json"]] {
            let ran = place.run(&command);
            for c in ['\u{202e}', '\u{200b}', '\u{2066}', '\u{1b}', '\u{7}'] {
                assert!(!ran.stdout.contains(c) && !ran.stderr.contains(c), "{}", ran.all());
            }
            assert!(format!("{}{}", ran.stdout, ran.stderr).contains(key), "{}", ran.all());
        }
    }
    for command in [["info", "ok", "--no-load"], ["run", "ok", "--quiet"], ["validate", "manifests/ok.json", "--quiet"]]
    {
        let ran = place.run(&command);
        assert!(!ran.all().contains('\u{202e}'), "{}", ran.all());
    }
    // The name of a file, and an argument of the command line.
    place.write("manifests/od\u{202e}d.json", "{");
    for command in [["list", "--quiet"], ["run", "no\u{202e}ne"], ["validate", "manifests/od\u{202e}d.json"]] {
        let ran = place.run(&command);
        assert!(!ran.all().contains('\u{202e}'), "{}", ran.all());
    }
}
