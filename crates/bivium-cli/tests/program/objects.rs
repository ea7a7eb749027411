//! Python plugins that are functions, and classes whose constructors take arguments, with a manifest and without.

use serde_json::{Value, json};

use crate::info::run_as_printed;
use crate::place::Place;

const WORDS: &str = r#"import functools
from shlex import quote

class Words:
    def __init__(self, mark="-", *, times=1):
        self.mark, self.times = mark, times

    def execute(self, text: str) -> str:
        """Marks a text."""
        return self.mark * self.times + text

def count(text: str, times: int = 1, /) -> int:
    """Counts words.

    Args:
        text: What is read.
    """
    return len(text.split()) * times

def pieces(text):
    yield from text.split()
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("words.py", WORDS);
    place
}

fn manifest(place: &Place, name: &str, more: &Value) {
    let mut manifest = json!({"name": name, "version": "1", "source": ".."});
    manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    place.write(&format!("manifests/{name}.json"), &manifest.to_string());
}

#[test]
fn a_function_is_run_and_shown_as_any_plugin() {
    let place = place();
    manifest(&place, "count", &json!({"function": "words:count"}));
    manifest(&place, "pieces", &json!({"function": "words:pieces"}));
    assert_eq!(place.run(&["run", "count", "text=a b", "times:=2"]).assert_status(0).json(), json!(4));
    let streamed = place.run(&["stream", "pieces", "text=a b"]);
    assert_eq!(streamed.assert_status(0).stdout, "\"a\"\n\"b\"\n");
    for args in [&["info", "count"] as &[_], &["info", "count", "--load"]] {
        let info = place.run(args);
        for part in [
            "  function      count in words\n",
            "    Counts words.\n    text: string (required)  What is read.\n    times: integer = 1\n    $ bivium run count text=TEXT",
        ] {
            assert!(info.assert_status(0).stdout.contains(part), "{part}: {}", info.all());
        }
        for ran in run_as_printed(&place, &info, "count") {
            assert_eq!(ran.assert_status(0).json(), json!(1));
        }
    }
    let ran = place.run(&["run", "count", "--config", "n:=1", "text=a"]);
    assert!(ran.assert_status(4).stderr.contains("a function takes no configuration, and 'n' is set"), "{}", ran.all());
    let json = place.run(&["info", "pieces", "--output=json"]).json();
    assert_eq!((&json["methods"][0]["streams"], &json["methods"][0]["name"]), (&json!(true), &json!("execute")));
    assert_eq!(json["methods"][0]["command"], "bivium stream pieces text=TEXT");
}

#[test]
fn the_constructor_gets_what_the_manifest_says() {
    let place = place();
    let class = |more: Value| {
        let mut class = json!({"module": "words", "class": "Words"});
        class.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        class
    };
    manifest(&place, "marks", &class(json!({"init_args": {"mark": "#", "times": 2}})));
    assert_eq!(place.run(&["run", "marks", "text=a"]).assert_status(0).json(), "##a");
    let info = place.run(&["info", "marks"]);
    assert!(info.assert_status(0).stdout.contains("  init_args     mark=\"#\", times=2\n"), "{}", info.all());
    manifest(&place, "wrong", &class(json!({"init_args": {"marks": "#"}})));
    let ran = place.run(&["run", "wrong", "text=a"]);
    assert!(ran.assert_status(4).stderr.contains("got an unexpected keyword argument 'marks'"), "{}", ran.all());
    let ran = place.run(&["run", "marks", "--config", "mark=x", "text=a"]);
    assert!(ran.assert_status(4).stderr.contains("the class Words takes no configuration"), "{}", ran.all());
}

#[test]
fn a_module_that_is_not_found_is_told_with_the_cure() {
    let place = Place::new();
    place.write(
        "manifests/words.py",
        "import no_such_package\ndef count(text): return 1\ndef later(): import no_such_package\n",
    );
    let run = |keys: &str| {
        let manifest = format!(r#"{{"name": "words", "version": "1", "function": "words:count"{keys}}}"#);
        place.write("manifests/words.json", &manifest);
        place.run(&["run", "words", "text=a"])
    };
    let (ran, told) = (run(""), "[DIR]/manifests/words.py lies beside the manifest: add `\"source\": \".\"` to it");
    assert!(ran.assert_status(4).stderr.contains(told), "{}", ran.all());
    let validated = place.run(&["validate", "manifests/words.json"]);
    let [first, second] = validated.assert_status(0).stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", validated.all())
    };
    assert_eq!(first, "manifests/words.json: ok, plugin words, with 1 warning");
    assert!(second.contains(told), "{second}");
    let ran = run(r#", "source": ".""#);
    let told = "there is no module 'no_such_package' in the plugin's environment";
    let cure = "if a package has it, list that as `requirements` in [DIR]/manifests/words.json";
    assert!(ran.assert_status(1).stderr.contains(told) && ran.stderr.contains(cure), "{}", ran.all());
    place.assert_clean();
}

#[test]
fn a_function_without_a_manifest_is_run() {
    let place = place();
    for named in ["words.py:count", "./words.py:count"] {
        assert_eq!(place.run(&["run", named, "text=a b"]).assert_status(0).json(), json!(2), "{named}");
        let info = place.run(&["info", named]);
        assert!(info.assert_status(0).stdout.contains("  object        count in words\n"), "{}", info.all());
        for ran in run_as_printed(&place, &info, named) {
            assert_eq!(ran.assert_status(0).json(), json!(1));
        }
    }
    assert_eq!(place.run(&["run", "words.py:Words", "text=a"]).assert_status(0).json(), "-a");
    assert_eq!(place.run(&["run", "shlex:quote", "s=a b"]).assert_status(0).json(), "'a b'");
    let ran = place.run(&["run", "words:count", "text=a"]);
    assert!(
        ran.assert_status(4).stderr.contains("there is no module 'words'"),
        "the directory is no place: {}",
        ran.all()
    );
    let ran = place.run(&["run", "words.py:none", "text=a"]);
    assert!(ran.assert_status(4).stderr.contains("has no class or function 'none'; it has: Words, "), "{}", ran.all());
    let ran = place.run(&["run", "words.py", "text=a"]);
    assert!(ran.assert_status(4).stderr.contains("words.py:NAME"), "{}", ran.all());
}
