//! Hostile files and random files.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::{Component, LONGEST, Limits};
use super::*;

#[test]
fn deep_nesting_is_a_problem_and_no_overflow() {
    let deep = format!(
        "{{\"name\": \"a\", \"version\": \"1\", \"component\": \"a.wasm\",\n\"config_schema\": {{\"a\": {}{}}}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(problems(&deep), ["2: this is nested deeper than 64 levels"]);
}

#[test]
fn problems_are_bounded() {
    let keys: Vec<String> = (0..20_000).map(|n| format!("\"key{n}\": 1")).collect();
    let found = problems(&format!("{{{}}}", keys.join(",\n")));
    assert_eq!(found.len(), 101);
    assert_eq!(found[100], ": there are more than 100 problems; correct these first");
}

#[test]
fn text_that_means_nothing() {
    assert_eq!(
        problems("{\"name\": \"\\ud800\",\n\"version\": \"1\", \"component\": \"a.wasm\"}"),
        ["1: this text cannot be read: unexpected end of hex escape"]
    );
}

#[test]
fn files_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Manifest::read(&dir.path().join("none.json")).unwrap_err();
    assert_eq!(missing.code(), ErrorCode::NotFound);
    assert!(missing.to_string().contains("none.json"), "{missing}");

    let bytes = dir.path().join("bytes.json");
    std::fs::write(&bytes, b"{\"name\": \"\xff\"}").unwrap();
    let long = dir.path().join("long.json");
    std::fs::write(&long, " ".repeat(LONGEST + 1)).unwrap();
    for (path, says) in
        [(dir.path(), "is not a file"), (&bytes, "is not UTF-8 (at byte 10)"), (&long, "is longer than 1 MiB")]
    {
        let error = ManifestFile::read(path, Forms::plain()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidManifest);
        assert!(error.to_string().contains(says), "{error}");
    }

    let good = dir.path().join("good.json");
    std::fs::write(&good, super::forms::REDACT).unwrap();
    let manifest = Manifest::read(&good).unwrap();
    assert_eq!(manifest.wasm().unwrap().component, Component::File(dir.path().join("redact.wasm")));
}

/// Pieces of JSON that may occur in the wrong place.
fn bit() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,3}",
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "null",
            "true",
            "-1",
            "0",
            "1e999",
            "18446744073709551615",
            "4294967296",
            "1.0",
            "{}",
            "[]",
            "\"\"",
            "\"\\ud800\"",
            "\"max\": 3,",
            "\"runtime\": \"python\",",
            "\n",
        ])
        .prop_map(str::to_owned),
    ]
}

/// Checks what holds for every text: it is a manifest, or it has problems in existing lines.
fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = ManifestFile::parse(text, Path::new(PATH), Forms::plain()) {
        prop_assert!(!error.problems().is_empty());
        for problem in error.problems() {
            // Otherwise the schema would be less strict than the types.
            prop_assert!(!problem.message.contains("this manifest cannot be read"), "{}\n{text}", problem.message);
            let line = problem.location.trim_start_matches("line ").parse::<usize>().unwrap();
            prop_assert!((1..=text.lines().count().max(1) + 1).contains(&line));
        }
    }
    Ok(())
}

fn python() -> impl Strategy<Value = Manifest> {
    let environment = prop::collection::btree_map("[A-Z_]{1,8}", "\\PC{0,8}", 0..4);
    let what = (
        "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "[a-z][a-z_]{0,5}(\\.[a-z]{1,5})?",
        "[^\\p{C}\\p{Zl}\\p{Zp}]{0,20}",
        environment,
    );
    let numbers = (1..=64_u32, 1..=64_u32, prop::option::of(1..=31_536_000_u64), 1..=86_400_u64, any::<bool>());
    let rest = (
        prop::option::of(prop::collection::vec("[a-z]{1,8}(==[0-9]{1,2}(\\.[0-9]){0,2})?", 0..3)),
        prop::option::of("[a-z/.]{1,9}"),
    );
    let limits = (prop::option::of(1..=1_u64 << 24), prop::option::of(1..=2_592_000_000_u64));
    (what, numbers, rest, limits).prop_map(|(what, numbers, rest, limits)| {
        let mut manifest = parse(r#"{"name": "a", "version": "1", "module": "a", "class": "A"}"#).unwrap();
        (manifest.name, manifest.description) = (what.0, what.2);
        let python = manifest.python_mut().unwrap();
        (python.object.module, python.env_vars) = (what.1, what.3);
        (python.concurrency, python.replicas, python.idle_stop_s, python.start_s) =
            (numbers.0, numbers.1, numbers.2, numbers.3);
        (python.requirements, python.source) =
            (rest.0, rest.1.map(|path| super::super::resolve::absolute(&PathBuf::from("/").join(path))));
        manifest.enforce = numbers.4;
        manifest.limits = Limits { memory_mb: limits.0, call_ms: limits.1, ..Limits::default() };
        manifest
    })
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "\\PC*") {
        check(&text)?;
    }

    #[test]
    fn no_change_of_a_valid_file_breaks_the_reader(
        file in 0..2_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6_usize, bit()), 1..4),
    ) {
        let files = [super::forms::REDACT, super::forms::TRANSCRIBER];
        let mut text: Vec<char> = files[file].chars().collect();
        for (place, length, bit) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, bit.chars());
        }
        check(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn a_manifest_survives_json(manifest in python()) {
        let value = serde_json::to_value(&manifest).unwrap();
        let again = Manifest::parse(&serde_json::to_string_pretty(&value).unwrap(), Path::new(PATH)).unwrap();
        prop_assert!(jsonschema::is_valid(Forms::plain().schema(), &value));
        prop_assert_eq!(again, manifest);
    }

    #[test]
    fn the_schema_and_the_reader_agree_on_names(name in "[A-Za-z0-9._ é-]{0,66}") {
        let text = serde_json::json!({"name": name, "version": "1", "component": "a.wasm"});
        prop_assert_eq!(parse(&text.to_string()).is_ok(), jsonschema::is_valid(Forms::plain().schema(), &text));
    }
}
